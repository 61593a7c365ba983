package userns

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// idRange is a range of subordinate IDs.
type idRange struct{ first, count int64 }

// ranges are those of a user.
type ranges struct{ users, groups []idRange }

// subordinate reads the ranges of a user out of the files below root. Without any
// it is an error that says so.
func subordinate(name, root string) (ranges, error) {
	users, err := readRanges(filepath.Join(root, "etc/subuid"), name)
	if err != nil {
		return ranges{}, err
	}
	groups, err := readRanges(filepath.Join(root, "etc/subgid"), name)
	return ranges{users, groups}, err
}

// readRanges reads lines of the form user:first:count, where the user is a name or
// a number (subuid(5)).
func readRanges(file, name string) ([]idRange, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("there are no subordinate IDs: %w", err)
	}
	defer f.Close()
	var all []idRange
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Split(strings.TrimSpace(lines.Text()), ":")
		if len(fields) != 3 || fields[0] != strconv.Itoa(os.Geteuid()) && (name == "" || fields[0] != name) {
			continue
		}
		first, err := strconv.ParseInt(fields[1], 10, 64)
		count, cerr := strconv.ParseInt(fields[2], 10, 64)
		if err == nil && cerr == nil && first > 0 && count > 0 {
			all = append(all, idRange{first, count})
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("reading %s: %w", file, err)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s gives user %s no subordinate IDs", file, strings.TrimSpace(name+" "+strconv.Itoa(os.Geteuid())))
	}
	return all, nil
}
