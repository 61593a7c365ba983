package check

import "fmt"

// Differences lets the tests compare two folders as a deep check compares a
// snapshot with what its layer holds.
func Differences(got, want string) ([]string, error) {
	t := trees{got: got, want: want, stop: func() error { return nil }}
	err := t.compare()
	var all []string
	for _, d := range t.found {
		all = append(all, d.path+": "+d.text)
	}
	if t.more > 0 {
		all = append(all, fmt.Sprintf("%d more", t.more))
	}
	return all, err
}
