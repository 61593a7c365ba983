package inflate

// A Slot is an entry of a decode table, taken apart.
type Slot struct {
	Literal, Other, End, Link bool
	Value                     int
	CodeLen, Drop             uint
}

func (e entry) slot() Slot {
	return Slot{
		Literal: e&entryLiteral != 0,
		Other:   e&entryLiteral == 0 && e&entryOther != 0,
		End:     e&entryLiteral == 0 && e&entryEnd != 0,
		Link:    e&entryLiteral == 0 && e&entryLink != 0,
		Value:   e.payload(),
		CodeLen: e.codeLen(),
		Drop:    e.drop(),
	}
}

// A Table is one of the three decode tables of a Reader.
type Table struct {
	Root  uint
	table []entry
	syms  []entry
}

// Tables returns decode tables for literals and lengths, for distances and for
// code lengths.
func Tables() (lit, dist, meta *Table) {
	z := NewReader(nil)
	return &Table{litBits, z.lit[:], litSyms[:]},
		&Table{distBits, z.dist[:], distSyms[:]},
		&Table{metaBits, z.meta[:], metaSyms[:]}
}

// Build fills the table and reports whether lens make a valid code.
func (t *Table) Build(lens []uint8) bool { return build(t.table, int(t.Root), lens, t.syms) }

// At returns an entry.
func (t *Table) At(i int) Slot { return t.table[i].slot() }
