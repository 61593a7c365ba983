#include "textflag.h"

// The round constants of SHA-256 (FIPS 180-4, 4.2.2).
DATA k<>+0x00(SB)/8, $0x71374491428a2f98
DATA k<>+0x08(SB)/8, $0xe9b5dba5b5c0fbcf
DATA k<>+0x10(SB)/8, $0x59f111f13956c25b
DATA k<>+0x18(SB)/8, $0xab1c5ed5923f82a4
DATA k<>+0x20(SB)/8, $0x12835b01d807aa98
DATA k<>+0x28(SB)/8, $0x550c7dc3243185be
DATA k<>+0x30(SB)/8, $0x80deb1fe72be5d74
DATA k<>+0x38(SB)/8, $0xc19bf1749bdc06a7
DATA k<>+0x40(SB)/8, $0xefbe4786e49b69c1
DATA k<>+0x48(SB)/8, $0x240ca1cc0fc19dc6
DATA k<>+0x50(SB)/8, $0x4a7484aa2de92c6f
DATA k<>+0x58(SB)/8, $0x76f988da5cb0a9dc
DATA k<>+0x60(SB)/8, $0xa831c66d983e5152
DATA k<>+0x68(SB)/8, $0xbf597fc7b00327c8
DATA k<>+0x70(SB)/8, $0xd5a79147c6e00bf3
DATA k<>+0x78(SB)/8, $0x1429296706ca6351
DATA k<>+0x80(SB)/8, $0x2e1b213827b70a85
DATA k<>+0x88(SB)/8, $0x53380d134d2c6dfc
DATA k<>+0x90(SB)/8, $0x766a0abb650a7354
DATA k<>+0x98(SB)/8, $0x92722c8581c2c92e
DATA k<>+0xa0(SB)/8, $0xa81a664ba2bfe8a1
DATA k<>+0xa8(SB)/8, $0xc76c51a3c24b8b70
DATA k<>+0xb0(SB)/8, $0xd6990624d192e819
DATA k<>+0xb8(SB)/8, $0x106aa070f40e3585
DATA k<>+0xc0(SB)/8, $0x1e376c0819a4c116
DATA k<>+0xc8(SB)/8, $0x34b0bcb52748774c
DATA k<>+0xd0(SB)/8, $0x4ed8aa4a391c0cb3
DATA k<>+0xd8(SB)/8, $0x682e6ff35b9cca4f
DATA k<>+0xe0(SB)/8, $0x78a5636f748f82ee
DATA k<>+0xe8(SB)/8, $0x8cc7020884c87814
DATA k<>+0xf0(SB)/8, $0xa4506ceb90befffa
DATA k<>+0xf8(SB)/8, $0xc67178f2bef9a3f7
GLOBL k<>(SB), RODATA|NOPTR, $256

// Words of a message are big-endian.
DATA flip<>+0x00(SB)/8, $0x0405060700010203
DATA flip<>+0x08(SB)/8, $0x0c0d0e0f08090a0b
GLOBL flip<>(SB), RODATA|NOPTR, $16

// The instructions keep a state as two registers, ABEF and CDGH. X0 is what
// SHA256RNDS2 takes its words from; X13 is free, X14 is flip.
//
// state  message  stream
// X1 X2  X3-X6    a, at SI
// X7 X8  X9-X12   b, at R9

#define UNPACK(state, abef, cdgh) \
	MOVOU   (state), abef       \
	MOVOU   16(state), cdgh     \
	PSHUFD  $0xb1, abef, abef   \
	PSHUFD  $0x1b, cdgh, cdgh   \
	MOVO    abef, X13           \
	PALIGNR $8, cdgh, abef      \
	PBLENDW $0xf0, X13, cdgh

#define PACK(state, abef, cdgh) \
	PSHUFD  $0x1b, abef, abef   \
	PSHUFD  $0xb1, cdgh, cdgh   \
	MOVO    abef, X13           \
	PBLENDW $0xf0, cdgh, abef   \
	PALIGNR $8, X13, cdgh       \
	MOVOU   abef, (state)       \
	MOVOU   cdgh, 16(state)

#define LOAD(i, m, n) \
	MOVOU  (16*i)(SI), m \
	PSHUFB X14, m        \
	MOVOU  (16*i)(R9), n \
	PSHUFB X14, n

// Four rounds, with the words m.
#define ROUNDS(i, m, abef, cdgh) \
	MOVO        m, X0           \
	PADDD       (16*i)(AX), X0  \
	SHA256RNDS2 X0, abef, cdgh  \
	PSHUFD      $0x0e, X0, X0   \
	SHA256RNDS2 X0, cdgh, abef

// The two chains of rounds depend on nothing of each other: while one waits for
// its last result, the processor works on the other.
#define BOTH(i, m, n) \
	ROUNDS(i, m, X1, X2) \
	ROUNDS(i, n, X7, X8)

// The next four words from the last sixteen: of this step, and for a later one.
#define EXPAND(m, before, next) \
	MOVO       m, X13          \
	PALIGNR    $4, before, X13 \
	PADDD      X13, next       \
	SHA256MSG2 m, next

#define STEP(i, m, mbefore, mnext, n, nbefore, nnext) \
	BOTH(i, m, n)             \
	EXPAND(m, mbefore, mnext) \
	SHA256MSG1 m, mbefore     \
	EXPAND(n, nbefore, nnext) \
	SHA256MSG1 n, nbefore

// func block2(a, b *[8]uint32, p, q *byte, n int)
TEXT ·block2(SB), NOSPLIT, $64-40
	MOVQ  a+0(FP), DI
	MOVQ  b+8(FP), R8
	MOVQ  p+16(FP), SI
	MOVQ  q+24(FP), R9
	MOVQ  n+32(FP), DX
	LEAQ  k<>(SB), AX
	MOVOU flip<>(SB), X14
	UNPACK(DI, X1, X2)
	UNPACK(R8, X7, X8)

loop:
	MOVOU X1, 0(SP)
	MOVOU X2, 16(SP)
	MOVOU X7, 32(SP)
	MOVOU X8, 48(SP)

	LOAD(0, X3, X9)
	BOTH(0, X3, X9)
	LOAD(1, X4, X10)
	BOTH(1, X4, X10)
	SHA256MSG1 X4, X3
	SHA256MSG1 X10, X9
	LOAD(2, X5, X11)
	BOTH(2, X5, X11)
	SHA256MSG1 X5, X4
	SHA256MSG1 X11, X10
	LOAD(3, X6, X12)
	STEP(3, X6, X5, X3, X12, X11, X9)
	STEP(4, X3, X6, X4, X9, X12, X10)
	STEP(5, X4, X3, X5, X10, X9, X11)
	STEP(6, X5, X4, X6, X11, X10, X12)
	STEP(7, X6, X5, X3, X12, X11, X9)
	STEP(8, X3, X6, X4, X9, X12, X10)
	STEP(9, X4, X3, X5, X10, X9, X11)
	STEP(10, X5, X4, X6, X11, X10, X12)
	STEP(11, X6, X5, X3, X12, X11, X9)
	STEP(12, X3, X6, X4, X9, X12, X10)
	BOTH(13, X4, X10)
	EXPAND(X4, X3, X5)
	EXPAND(X10, X9, X11)
	BOTH(14, X5, X11)
	EXPAND(X5, X4, X6)
	EXPAND(X11, X10, X12)
	BOTH(15, X6, X12)

	MOVOU 0(SP), X13
	PADDD X13, X1
	MOVOU 16(SP), X13
	PADDD X13, X2
	MOVOU 32(SP), X13
	PADDD X13, X7
	MOVOU 48(SP), X13
	PADDD X13, X8
	ADDQ  $64, SI
	ADDQ  $64, R9
	SUBQ  $64, DX
	JNE   loop

	PACK(DI, X1, X2)
	PACK(R8, X7, X8)
	RET

// func cpuid(leaf uint32) (eax, ebx, ecx uint32)
TEXT ·cpuid(SB), NOSPLIT, $0-20
	MOVL leaf+0(FP), AX
	XORL CX, CX
	CPUID
	MOVL AX, eax+8(FP)
	MOVL BX, ebx+12(FP)
	MOVL CX, ecx+16(FP)
	RET
