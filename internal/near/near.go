// Package near finds the names that a person may have meant by one that nobody knows.
package near

import (
	"cmp"
	"slices"
	"strings"
)

// Max is how many names are suggested for one.
const Max = 3

// Closest returns those of the names that a person may have meant, the closest first: a third of
// the characters may differ, or one is the beginning of the other.
func Closest(name string, names []string) []string {
	type near struct {
		name string
		far  int
	}
	var found []near
	given := strings.ToLower(name)
	for _, n := range names {
		other := strings.ToLower(n)
		far := distance(given, other)
		begins := len(given) > 1 && (strings.HasPrefix(other, given) || strings.HasPrefix(given, other))
		if far <= max(1, len([]rune(given))/3) || begins {
			found = append(found, near{n, far})
		}
	}
	slices.SortStableFunc(found, func(a, b near) int { return cmp.Compare(a.far, b.far) })
	out := make([]string, 0, Max)
	for _, f := range found[:min(len(found), Max)] {
		out = append(out, f.name)
	}
	return out
}

// distance is Levenshtein's: how many characters are added, left out or replaced between two
// texts. Both are cut at 100 characters.
func distance(a, b string) int {
	const most = 100
	left, right := []rune(a), []rune(b)
	left, right = left[:min(len(left), most)], right[:min(len(right), most)]
	row := make([]int, len(right)+1)
	for j := range row {
		row[j] = j
	}
	for i, l := range left {
		diagonal := row[0]
		row[0] = i + 1
		for j, r := range right {
			cost := 1
			if l == r {
				cost = 0
			}
			next := min(row[j]+1, row[j+1]+1, diagonal+cost)
			diagonal, row[j+1] = row[j+1], next
		}
	}
	return row[len(right)]
}
