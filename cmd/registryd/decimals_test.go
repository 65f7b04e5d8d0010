package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestOneMeaning gives values to a flag, a variable and a file: each has the same meaning in all
// three, which is what a person reads, or is refused with the place.
func TestOneMeaning(t *testing.T) {
	const refused = "refused"
	for _, c := range []struct{ key, value, want string }{
		{"batch-size", "10", "10"},
		{"batch-size", "+10", "10"},
		{"batch-size", "010", refused},
		{"batch-size", "0x10", refused},
		{"batch-size", "0o10", refused},
		{"batch-size", "0b11", refused},
		{"batch-size", "1_000", refused},
		{"batch-size", "1e3", refused},
		{"batch-size", "10.0", refused},
		{"batch-size", "1:30", refused},
		{"batch-size", "２", refused},
		{"batch-size", "99999999999999999999", refused},
		{"peers", "0", "0"},
		{"peers", "00", refused},
		{"renewal-threshold", "0.5", "0.5"},
		{"renewal-threshold", ".5", "0.5"},
		{"renewal-threshold", "00.5", refused},
		{"renewal-threshold", "5e-1", refused},
		{"renewal-threshold", "0x1p-1", refused},
		{"renewal-threshold", ".nan", refused},
		{"renewal-threshold", "NaN", refused},
		{"renewal-threshold", "Infinity", refused},
		{"max-lease", "010h", "10h0m0s"},
		{"max-lease", "3600", refused},
		{"max-lease", "90:00", refused},
		{"max-lease", "1_0h", refused},
		{"page-actions", "true", "true"},
		{"page-actions", "True", "true"},
		{"page-actions", "1", "true"},
		{"page-actions", "yes", refused},
		{"page-actions", "on", refused},
		{"page-actions", "off", refused},
		{"page-actions", "null", refused},
		{"node", "010", "010"},
		{"node", "yes", "yes"},
		{"node", "2024-01-01", "2024-01-01"},
		{"node", "1e3", "1e3"},
		{"log-level", "off", refused},
	} {
		t.Run(c.key+" "+c.value, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "f.yaml")
			if err := os.WriteFile(file, []byte(c.key+": "+c.value+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			variable := variable(c.key)
			for where, args := range map[string][]string{
				"--" + c.key: {"--" + c.key + "=" + c.value}, variable: nil, "f.yaml:1": {"--config", file},
			} {
				if where == variable {
					t.Setenv(variable, c.value)
				} else if err := os.Unsetenv(variable); err != nil {
					t.Fatal(err)
				}
				var out, errs bytes.Buffer
				code := run(t.Context(), append([]string{"config", "check"}, args...), &out, &errs)
				if c.want == refused {
					said := out.String() + errs.String()
					if code != 2 || !strings.Contains(said, where) || !strings.Contains(said, c.key) && where != variable {
						t.Errorf("%s: exit code %d, %q; want it refused, with the place", where, code, said)
					}
					continue
				}
				out.Reset()
				run(t.Context(), append([]string{"config", "show", "--changed"}, args...), &out, &errs)
				if got := strings.Join(strings.Fields(out.String()), " "); got != fmt.Sprintf("%s: %s # %s", c.key, c.want, where) {
					t.Errorf("%s: %q %q", where, got, errs.String())
				}
			}
		})
	}
}
