package access

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/bcrypt"
)

func hashed(t testing.TB, password string, cost int) string {
	t.Helper()
	h, err := bcrypt.GenerateFromPassword([]byte(password), cost)
	if err != nil {
		t.Fatal(err)
	}
	return string(h)
}

func token(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256:" + hex.EncodeToString(sum[:])
}

func basic(name, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(name+":"+password))
}

func newGuard(t testing.TB, text string, change func(*Options)) (*Guard, string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "logins")
	write(t, file, text)
	opts := Options{File: file}
	if change != nil {
		change(&opts)
	}
	g, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	return g, file
}

func write(t testing.TB, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (g *Guard) ask(t testing.TB, header, from string) (string, Verdict, time.Duration) {
	t.Helper()
	who, v, after := g.Identify(t.Context(), Shown{Authorization: []string{header}, Remote: from})
	if who == nil {
		return "", v, after
	}
	return who.Name, v, after
}

// TestFaults names all faults of a file at once, with their lines and without secrets.
func TestFaults(t *testing.T) {
	good := hashed(t, "pw", bcrypt.MinCost)
	const secret = "hunter2hunter2"
	text := strings.Join([]string{
		"# a comment", "", // 1, 2
		"ok read " + good,                      // 3
		"ok client " + token("x"),              // 4: name
		"who superuser " + good,                // 5: role
		"a:b read " + good,                     // 6: name
		"plain read " + secret,                 // 7: secret
		"short read sha256:abcd",               // 8
		"two read " + good + "," + good,        // 9
		"apps admin " + good + " A,B",          // 10
		"star client " + good + " A,*",         // 11
		"lonely read",                          // 12
		"same read " + token("x"),              // 13: token of 4
		"costly read $2a$31$" + good[7:],       // 14
		"c1 client cert:x", "c2 client cert:x", // 15, 16
		"none client cert:",                              // 17
		"many client " + good + " A B",                   // 18
		strings.Repeat("n", MaxName+1) + " read " + good, // 19
	}, "\n")
	err := Check("logins", []byte(text))
	if err == nil {
		t.Fatal("no fault")
	}
	got := err.Error()
	for line := range 20 {
		has := strings.Contains(got, fmt.Sprintf("logins:%d: ", line))
		if want := line >= 4 && line != 15; has != want {
			t.Errorf("line %d: a fault %v, want %v", line, has, want)
		}
	}
	for _, bad := range []string{secret, good[8:], "hunter"} {
		if strings.Contains(got, bad) {
			t.Errorf("the fault shows a secret: %s", got)
		}
	}
	if err := Check("logins", []byte("# nobody\n")); err == nil {
		t.Error("a file without logins is taken")
	}
	if err := Check("logins", []byte("a client "+good+" Ä,orders\n")); err != nil {
		t.Error(err)
	}
}

func TestIdentify(t *testing.T) {
	g, _ := newGuard(t, "p client "+hashed(t, "pass:word", bcrypt.MinCost)+" orders\n"+
		"t admin "+token("new")+","+token("old")+"\n"+
		"both read "+hashed(t, "human", bcrypt.MinCost)+","+token("machine")+"\n", nil)
	for i, tt := range []struct {
		header, want string
		v            Verdict
	}{
		{basic("p", "pass:word"), "p", Known},
		{basic("p", "pass"), "", Wrong},
		{basic("P", "pass:word"), "", Wrong},
		{basic("p", ""), "", Wrong},
		{basic("", "new"), "", Wrong},
		{basic("t", "new"), "t", Known},
		{basic("t", "old"), "t", Known},
		{basic("p", "new"), "", Wrong}, // another's token
		{"Bearer new", "t", Known},
		{"bearer old", "t", Known},
		{"Bearer pass:word", "", Wrong}, // a password is no token
		{"Bearer ", "", Wrong},
		{"Bearer", "", Wrong},
		{"Basic !!!", "", Wrong},
		{"Digest x", "", Wrong},
		{"", "", Wrong},
		{basic("both", "human"), "both", Known},
		{basic("both", "machine"), "both", Known},
		{basic("p", "pass:word"+strings.Repeat("x", 80)), "", Wrong},
		{"Bearer " + strings.Repeat("x", maxHeader), "", Wrong},
		{"Bearer " + strings.Repeat("x", 1000), "", Wrong}, // longer than digest's room
	} {
		for range 2 { // the second time from what is remembered
			from := fmt.Sprintf("192.0.2.%d:1", i)
			if who, v, _ := g.ask(t, tt.header, from); who != tt.want || v != tt.v {
				t.Errorf("%.60s: %q %v, want %q %v", tt.header, who, v, tt.want, tt.v)
			}
		}
	}
	if _, v, _ := g.Identify(t.Context(), Shown{}); v != Anonymous {
		t.Errorf("nothing shown: %v", v)
	}
	if _, v, _ := g.Identify(t.Context(), Shown{Authorization: []string{"Bearer new", "Bearer new"}}); v != Wrong {
		t.Errorf("two headers: %v", v)
	}
}

// TestPasswordOver72Bytes has a password of which bcrypt would only compare the first 72 bytes.
func TestPasswordOver72Bytes(t *testing.T) {
	long := strings.Repeat("x", 72)
	g, _ := newGuard(t, "p read "+hashed(t, long, bcrypt.MinCost)+"\n", nil)
	if who, _, _ := g.ask(t, basic("p", long), "192.0.2.1:1"); who != "p" {
		t.Error("72 bytes: refused")
	}
	if who, _, _ := g.ask(t, basic("p", long+"y"), "192.0.2.1:1"); who != "" {
		t.Error("73 bytes: taken")
	}
}

// TestReload takes what changed, forgets what no longer holds, and keeps what does.
func TestReload(t *testing.T) {
	stays, leaves := hashed(t, "stays", bcrypt.MinCost), hashed(t, "leaves", bcrypt.MinCost)
	g, file := newGuard(t, "stays client "+stays+" A\nleaves client "+leaves+"\nchanges client "+leaves+"\n", nil)
	headers := map[string]string{"stays": basic("stays", "stays"), "leaves": basic("leaves", "leaves"), "changes": basic("changes", "leaves")}
	for name, h := range headers {
		if who, _, _ := g.ask(t, h, "192.0.2.1:1"); who != name {
			t.Fatalf("%s: %q", name, who)
		}
	}
	write(t, file, "stays read "+stays+"\nchanges client "+hashed(t, "other", bcrypt.MinCost)+"\n")
	g.files.Look()
	if n := g.files.Current().size(); n != 1 {
		t.Errorf("%d headers remembered, want 1", n)
	}
	who, v, _ := g.Identify(t.Context(), Shown{Authorization: []string{headers["stays"]}, Remote: "192.0.2.1:1"})
	if v != Known || who.Role != Read {
		t.Errorf("stays: %v, %+v: want its new role", v, who)
	}
	for _, name := range []string{"leaves", "changes"} {
		if _, v, _ := g.ask(t, headers[name], "192.0.2.1:1"); v != Wrong {
			t.Errorf("%s: %v, want wrong", name, v)
		}
	}
	// A file that can't be used changes nothing.
	write(t, file, "stays superuser\n")
	g.files.Look()
	g.files.Look()
	if _, v, _ := g.ask(t, headers["stays"], "192.0.2.1:1"); v != Known {
		t.Errorf("after a bad file: %v", v)
	}
}

func TestRememberedIsBounded(t *testing.T) {
	g, _ := newGuard(t, "t read "+token("x")+"\n", func(o *Options) { o.MaxCredentials = 3 })
	for i := range 20 {
		g.ask(t, "Bearer "+strings.Repeat(" ", i)+"x", "192.0.2.1:1")
	}
	if n := g.files.Current().size(); n != 3 {
		t.Errorf("%d remembered, want 3", n)
	}
}

// TestSlowed guesses from one address. It is slowed after ten failures, and others are not;
// what was verified before goes on from everywhere.
func TestSlowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := newGuard(t, "t read "+token("x")+"\nu read "+token("y")+"\n", nil)
		if who, _, _ := g.ask(t, "Bearer x", "192.0.2.1:1"); who != "t" {
			t.Fatal("not verified")
		}
		for i := range failedBurst {
			if _, v, _ := g.ask(t, fmt.Sprint("Bearer no", i), fmt.Sprint("192.0.2.1:", 1000+i)); v != Wrong {
				t.Fatalf("failure %d: %v", i+1, v)
			}
		}
		_, v, after := g.ask(t, "Bearer y", "192.0.2.1:7")
		if v != Slowed || after <= 0 || after > failedEvery {
			t.Errorf("the right token after ten failures: %v, again after %v", v, after)
		}
		if who, _, _ := g.ask(t, "Bearer x", "192.0.2.1:8"); who != "t" {
			t.Error("what was verified before is refused")
		}
		if who, _, _ := g.ask(t, "Bearer y", "192.0.2.2:1"); who != "u" {
			t.Error("another address is refused")
		}
		time.Sleep(after)
		if _, v, _ := g.ask(t, "Bearer no", "192.0.2.1:9"); v != Wrong {
			t.Errorf("after %v: %v, want one more try", after, v)
		}
		if _, v, _ := g.ask(t, "Bearer no", "192.0.2.1:9"); v != Slowed {
			t.Errorf("the next: %v, want slowed", v)
		}
		// Of IPv6 a network counts.
		for i := range failedBurst {
			g.ask(t, "Bearer no", fmt.Sprintf("[2001:db8::%x]:1", i+1))
		}
		if _, v, _ := g.ask(t, "Bearer no", "[2001:db8::ffff:1]:1"); v != Slowed {
			t.Errorf("the same /64: %v", v)
		}
		if _, v, _ := g.ask(t, "Bearer no", "[2001:db8:0:1::1]:1"); v != Wrong {
			t.Errorf("another /64: %v", v)
		}
	})
}

// TestAddressesAreBounded keeps what it remembers of addresses within its bound.
func TestAddressesAreBounded(t *testing.T) {
	g, _ := newGuard(t, "t read "+token("x")+"\n", func(o *Options) { o.MaxAddresses = 8 })
	for i := range 200 {
		g.ask(t, "Bearer no", fmt.Sprintf("192.0.2.%d:1", i))
	}
	if n := g.gate.size(); n > 8 {
		t.Errorf("%d addresses, want at most 8", n)
	}
}

// TestOneAddressHoldsNobodyUp has one address send many guesses at once. Another one is
// verified while these wait.
func TestOneAddressHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := newGuard(t, "p read "+hashed(t, "pw", bcrypt.MinCost)+"\n", func(o *Options) { o.MaxWaiting = maxPerAddress + 10 })
		a := g.gate.use(addressOf("192.0.2.1:1"))
		a.turn <- struct{}{} // as if one guess took forever
		var guesses sync.WaitGroup
		for i := range 2 * maxPerAddress {
			guesses.Go(func() {
				if _, v, _ := g.ask(t, fmt.Sprint("Bearer ", i), "192.0.2.1:2"); v != Busy {
					t.Errorf("guess: %v, want busy", v)
				}
			})
		}
		synctest.Wait()
		if who, v, _ := g.ask(t, basic("p", "pw"), "192.0.2.2:1"); who != "p" {
			t.Errorf("another address: %v", v)
		}
		guesses.Wait()
		a.leave()
		if n := g.gate.waiting.Load(); n != 0 {
			t.Errorf("%d wait", n)
		}
	})
}

// TestBusy bounds who waits, and how long.
func TestBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := newGuard(t, "p read "+hashed(t, "pw", bcrypt.MinCost)+"\n", func(o *Options) { o.MaxVerifying, o.MaxWaiting = 1, 2 })
		g.gate.slots <- struct{}{} // a hash that takes forever
		start := time.Now()
		if _, v, after := g.ask(t, basic("p", "pw"), "192.0.2.1:1"); v != Busy || after <= 0 || time.Since(start) != verifyWait {
			t.Errorf("%v after %v, want busy after %v", v, time.Since(start), verifyWait)
		}
		<-g.gate.slots
		if who, _, _ := g.ask(t, basic("p", "pw"), "192.0.2.1:1"); who != "p" {
			t.Error("not verified afterwards")
		}
	})
}

// TestFailuresCostTheSame compares the work of a wrong password with that of a name that is
// none, and of a login without a password. A hash of cost n is 2^n rounds.
func TestFailuresCostTheSame(t *testing.T) {
	s, err := parse("logins", []byte("cheap read "+hashed(t, "a", 6)+"\ncostly read "+hashed(t, "b", 9)+"\nmachine read "+token("c")+"\n"))
	if err != nil {
		t.Fatal(err)
	}
	st, err := newState(s, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	rounds := 0
	st.compare = func(hash, _ []byte) error {
		cost, err := bcrypt.Cost(hash)
		if err != nil {
			t.Error(err)
		}
		rounds += 1 << cost
		return bcrypt.ErrMismatchedHashAndPassword
	}
	for _, name := range []string{"costly", "cheap", "machine", "nobody", ""} {
		for _, password := range []string{"wrong", "", strings.Repeat("x", 100)} {
			rounds = 0
			if l, _ := st.prove(credentials{name: name, password: password}); l != nil {
				t.Fatal("proved")
			}
			if rounds != 1<<9 {
				t.Errorf("%q: %d rounds, want %d", name, rounds, 1<<9)
			}
		}
	}
	for cost := bcrypt.MinCost; cost <= 9; cost++ { // a dummy must be a hash, else comparing ends at once
		if err := bcrypt.CompareHashAndPassword(st.dummy[cost], []byte("x")); !errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) {
			t.Errorf("dummy of cost %d: %v", cost, err)
		}
	}
}

func TestIdentifyAllocs(t *testing.T) {
	g, _ := newGuard(t, "p read "+hashed(t, "pw", bcrypt.MinCost)+"\n", nil)
	shown := Shown{Authorization: []string{basic("p", "pw")}, Remote: "192.0.2.1:1"}
	if got := testing.AllocsPerRun(100, func() {
		if who, _, _ := g.Identify(t.Context(), shown); who == nil {
			t.Fatal("not known")
		}
	}); got > 0 {
		t.Errorf("%v allocations", got)
	}
}

func BenchmarkIdentify(b *testing.B) {
	g, _ := newGuard(b, "p read "+hashed(b, "pw", bcrypt.MinCost)+"\n", nil)
	shown := Shown{Authorization: []string{basic("p", "pw")}, Remote: "192.0.2.1:1"}
	b.ReportAllocs()
	for b.Loop() {
		g.Identify(b.Context(), shown)
	}
}

// TestMayAdd bounds the instances of a login, and gives back what is gone.
func TestMayAdd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := newGuard(t, "a client "+token("x")+"\nb client "+token("y")+"\n", func(o *Options) { o.MaxInstances = 2 })
		gone := map[string]bool{}
		alive := func(_, id string) bool { return !gone[id] }
		a, b := &Login{Name: "a"}, &Login{Name: "b"}
		may := func(who *Login, id string, want bool) {
			t.Helper()
			if got := g.MayAdd(who, "APP", id, alive); got != want {
				t.Errorf("%s of %s: %v, want %v", id, who.Name, got, want)
			}
		}
		may(a, "1", true)
		may(a, "2", true)
		may(a, "3", false)
		may(a, "1", true)
		may(b, "3", true)
		gone["1"] = true
		may(a, "3", false) // searched less than a second ago
		time.Sleep(sweepInterval)
		may(a, "3", true)
		may(a, "4", false)
	})
}

func TestRoles(t *testing.T) {
	s, err := parse("logins", []byte("r read "+token("1")+"\nc client "+token("2")+" orders\na admin "+token("3")+"\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name                      string
		app                       string
		own                       bool
		change, override, isAdmin bool
	}{
		{"r", "ORDERS", false, false, false, false},
		{"c", "ORDERS", false, true, true, false},
		{"c", "ORDERS", true, true, true, false},
		{"c", "OTHER", false, true, false, false},
		{"c", "OTHER", true, false, false, false},
		{"a", "OTHER", true, true, true, true},
	} {
		l := s.byName[tt.name]
		if l.MayChange(tt.app, tt.own) != tt.change || l.MayOverride(tt.app) != tt.override || l.Has(Admin) != tt.isAdmin || !l.Has(Read) {
			t.Errorf("%+v: %v %v %v", tt, l.MayChange(tt.app, tt.own), l.MayOverride(tt.app), l.Has(Admin))
		}
	}
}

// TestEditsWait adds logins at the same time: all of them are in the file.
func TestEditsWait(t *testing.T) {
	file := filepath.Join(t.TempDir(), "logins")
	const n = 40
	var adding sync.WaitGroup
	for i := range n {
		adding.Go(func() {
			if err := Add(file, Entry{Name: fmt.Sprint("u", i), Role: "read", Token: NewToken()}, false); err != nil {
				t.Error(err)
			}
		})
	}
	adding.Wait()
	all, err := List(file)
	if err != nil || len(all) != n {
		t.Errorf("%d logins, %v, want %d", len(all), err, n)
	}
}
