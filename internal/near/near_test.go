package near

import (
	"strings"
	"testing"
)

func TestClosest(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		names []string
		want  string
	}{
		{"lisen", []string{"listen", "list", "nodes"}, "listen"},
		{"stats", []string{"status", "serve", "diff"}, "status"},
		{"STATUS", []string{"status"}, "status"},
		{"bogus", []string{"status", "serve"}, ""},
		{"a", []string{"b", "ab", "abc"}, "b ab"},
		{"orders/o-2", []string{"ORDERS/o-1", "ORDERS/o-2", "USERS/u-1"}, "ORDERS/o-2 ORDERS/o-1"},
		{"no", []string{"node", "nodes", "north", "noise"}, "node nodes north"},
		{"", []string{"node"}, ""},
	} {
		if got := strings.Join(Closest(test.name, test.names), " "); got != test.want {
			t.Errorf("Closest(%q): got %q, want %q", test.name, got, test.want)
		}
	}
}

// TestDistance compares with distances known from the literature, and with its own laws.
func TestDistance(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		a, b string
		want int
	}{
		{"kitten", "sitting", 3},
		{"saturday", "sunday", 3},
		{"", "abc", 3},
		{"abc", "", 3},
		{"same", "same", 0},
		{"é", "e", 1},
		{strings.Repeat("a", 500), strings.Repeat("b", 500), 100},
	} {
		if got := distance(test.a, test.b); got != test.want || distance(test.b, test.a) != test.want {
			t.Errorf("%.10q, %.10q: got %d, want %d", test.a, test.b, got, test.want)
		}
	}
}
