package value

import "strings"

// Nearest returns the candidate that word was probably meant to be: one that word
// is the beginning of, or that differs from it in few letters. It is empty if
// there is none.
func Nearest(word string, candidates []string) string {
	best, limit := "", len(word)/3+1
	for _, c := range candidates {
		d := Distance(word, c)
		if len(word) > 2 && strings.HasPrefix(c, word) {
			d = 0
		}
		if d < limit {
			best, limit = c, d
		}
	}
	return best
}

// Distance counts the letters to insert, drop, replace or swap with their
// neighbour to make b of a (optimal string alignment).
func Distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+differ(a[i-1], b[j-1]))
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}

func differ(a, b byte) int {
	if a == b {
		return 0
	}
	return 1
}
