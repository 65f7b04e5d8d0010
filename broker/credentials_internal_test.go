package broker

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/registryd/registryd/internal/reread"
)

// TestCredentialsThatAreOver replaces credentials by some that have ended or have not begun:
// those that a server takes are kept for as long as it does.
func TestCredentialsThatAreOver(t *testing.T) {
	for name, c := range map[string]struct {
		begins, ends, taken time.Duration // 0: it does not say; taken: when the second are used
	}{
		"ended":     {ends: -time.Minute, taken: 2 * time.Hour},
		"not begun": {begins: time.Hour, taken: time.Hour},
		"valid":     {ends: time.Hour},
		"for ever":  {},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began, file := time.Now(), filepath.Join(t.TempDir(), "creds")
				write := func(begins, ends time.Duration) {
					t.Helper()
					pair, err := nkeys.CreateUser()
					if err != nil {
						t.Fatal(err)
					}
					seed, err := pair.Seed()
					if err != nil {
						t.Fatal(err)
					}
					at := func(d time.Duration) int64 {
						if d == 0 {
							return 0
						}
						return began.Add(d).Unix()
					}
					claims := fmt.Sprintf(`{"nbf":%d,"exp":%d}`, at(begins), at(ends))
					text := fmt.Sprintf("-----BEGIN NATS USER JWT-----\nh.%s.s\n------END NATS USER JWT------\n\n"+
						"-----BEGIN USER NKEY SEED-----\n%s\n------END USER NKEY SEED------\n",
						base64.RawURLEncoding.EncodeToString([]byte(claims)), seed)
					if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				write(0, 2*time.Hour)
				f, err := reread.Open("nats_creds", []string{file}, nil, parseCreds)
				if err != nil {
					t.Fatal(err)
				}
				first := f.Current()
				write(c.begins, c.ends)
				for time.Since(began) < c.taken {
					f.Look()
					if f.Current() != first {
						t.Fatalf("taken after %v, want %v", time.Since(began), c.taken)
					}
					time.Sleep(time.Minute)
				}
				if f.Look(); f.Current() == first {
					t.Errorf("not taken after %v", c.taken)
				}
			})
		})
	}
}
