package testregistry

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/containerd-pull/containerd-pull/pkg/internal/pulltest/testca"
)

// tokenSigner makes tokens that a registry in another process can judge: JSON
// Web Tokens with the claims of Docker's token specification, signed with ES256
// (RFC 7518, section 3.4), the signer's certificate in the header.
type tokenSigner struct{ pair tls.Certificate }

const tokenIssuer = "issuer.pulltest"

// newTokenSigner has a certificate of the authority, which the registry has to
// trust.
func newTokenSigner(a *testca.Authority) (*tokenSigner, error) {
	pair, err := a.Issue("pulltest token signer", 4)
	if err != nil {
		return nil, err
	}
	return &tokenSigner{pair}, nil
}

// tokenAccess is one entry of a token's "access" claim.
type tokenAccess struct {
	Type    string   `json:"type"`
	Name    string   `json:"name"`
	Actions []string `json:"actions"`
}

func (s *tokenSigner) sign(g grant) (string, error) {
	access := []tokenAccess{}
	for _, scope := range g.scopes {
		kind, rest, _ := strings.Cut(scope, ":")
		i := strings.LastIndexByte(rest, ':')
		if i < 0 {
			return "", fmt.Errorf("scope %q: want TYPE:NAME:ACTIONS", scope)
		}
		access = append(access, tokenAccess{kind, rest[:i], strings.Split(rest[i+1:], ",")})
	}
	now := time.Now()
	head, err := encodeJWT(map[string]any{
		"typ": "JWT", "alg": "ES256",
		"x5c": []string{base64.StdEncoding.EncodeToString(s.pair.Certificate[0])},
	})
	if err != nil {
		return "", err
	}
	claims, err := encodeJWT(map[string]any{
		"iss": tokenIssuer, "aud": tokenService, "sub": "", "jti": rand.Text(),
		"iat": now.Unix(), "nbf": now.Unix(), "exp": g.expires.Unix(), "access": access,
	})
	if err != nil {
		return "", err
	}
	return s.seal(head + "." + claims)
}

func encodeJWT(part map[string]any) (string, error) {
	text, err := json.Marshal(part)
	if err != nil {
		return "", fmt.Errorf("encoding token: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(text), nil
}

// seal appends the signature: both numbers in 32 bytes each.
func (s *tokenSigner) seal(text string) (string, error) {
	key, ok := s.pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return "", errors.New("signing token: the key is not of ECDSA")
	}
	sum := sha256.Sum256([]byte(text))
	r, v, err := ecdsa.Sign(rand.Reader, key, sum[:])
	if err != nil {
		return "", fmt.Errorf("signing token: %w", err)
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	v.FillBytes(signature[32:])
	return text + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}
