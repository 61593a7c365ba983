package userfile

// As reads and checks files as another user would.
type As struct{ user user }

// AsUser is a user of the machine, who need not be the one of the test.
func AsUser(uid int) As { return As{newUser(uid, []idRange{{0, 0, 1 << 32}})} }

// Found is Found for that user.
func (a As) Found(path string) error {
	_, err := read(path, 1<<20, a.user.judgeFound, false)
	return err
}

// Named is Named for that user.
func (a As) Named(path string) error {
	_, err := read(path, 1<<20, a.user.judgeNamed(), true)
	return err
}

// Link judges the links that a file is written through, for that user.
func (a As) Link(path string) error {
	w, err := follow(path, a.user.judgeLink)
	if err == nil {
		w.close()
	}
	return err
}

// Namespace is whether root of a user namespace with these ranges of IDs is judged
// as root, and how it sees owners without a number.
func Namespace(ranges ...[3]int) (strict bool, unmapped int, ambiguous bool) {
	var ids []idRange
	for _, r := range ranges {
		ids = append(ids, idRange{r[0], r[1], r[2]})
	}
	u := newUser(0, ids)
	return u.strict, u.unmapped, u.ambiguous
}
