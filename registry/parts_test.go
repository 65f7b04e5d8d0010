package registry_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

var forms = []eureka.Form{
	{}, {Format: eureka.XML}, {Compact: true}, {Format: eureka.XML, Compact: true},
}

// encoded puts a list together from its parts.
func encoded(f eureka.Form, l registry.List) string {
	dst := f.AppendListHead(nil, l.Version, l.HashCode)
	before := ""
	for i, p := range l.Parts {
		after := ""
		if i+1 < len(l.Parts) {
			after = l.Parts[i+1].First()
		}
		dst = f.AppendPart(dst, p.Instances(), before, after)
		before = p.Last()
	}
	return string(f.AppendListTail(dst, l.Version, l.HashCode))
}

// TestListInParts puts lists together from parts, after each step of random histories.
// They have the bytes of a list that is encoded as a whole, in every form.
func TestListInParts(t *testing.T) {
	t.Parallel()
	seed := randomSeed(t)
	for history := range 3 * *effortFlag {
		rnd := rand.New(rand.NewPCG(seed, uint64(history)))
		c := newClock()
		r, _ := newRegistry(t, c)
		apps, ids := 1+rnd.IntN(30), 1+rnd.IntN(400)
		for step := range 1500 {
			c.Add(time.Duration(rnd.IntN(2000)) * time.Millisecond)
			key := registry.NewKey(fmt.Sprint("APP", rnd.IntN(apps)), fmt.Sprint("i-", rnd.IntN(ids)))
			switch n := rnd.IntN(100); {
			case n < 60:
				r.Register(instance(key.App, key.ID, pick(rnd, statuses()), c.ms.Load()), by(rnd.IntN(2) == 0))
			case n < 75:
				r.Cancel(key, by(rnd.IntN(2) == 0))
			case n < 85:
				r.SetStatus(key, pick(rnd, statuses()), eureka.NoTimestamp, registry.Origin{})
			case n < 95:
				r.Renew(key, eureka.NoTimestamp, "", registry.Origin{})
			case n < 97:
				r.Evict()
			case n < 98:
				r.SweepDelta()
			default:
				c.Add(time.Duration(rnd.IntN(300)) * time.Second)
			}
			if step%10 != 0 {
				continue
			}
			for _, f := range forms {
				// Renewals are as fresh as in the list that is encoded as a whole.
				all, want := r.List(-1), r.Applications()
				if got := encoded(f, all); got != string(f.AppendApplications(nil, want)) {
					t.Fatalf("history %d, step %d, %+v: the list differs: %s", history, step, f,
						difference(got, string(f.AppendApplications(nil, want))))
				}
				changes, wanted := r.Changes(-1), r.Delta()
				changes.Version = wanted.Version
				if got := encoded(f, changes); got != string(f.AppendApplications(nil, wanted)) {
					t.Fatalf("history %d, step %d, %+v: the delta differs: %s", history, step, f,
						difference(got, string(f.AppendApplications(nil, wanted))))
				}
			}
		}
	}
}

// difference shows where two texts differ.
func difference(got, want string) string {
	at := 0
	for at < min(len(got), len(want)) && got[at] == want[at] {
		at++
	}
	around := func(s string) string { return s[max(0, at-200):min(len(s), at+200)] }
	return fmt.Sprintf("at byte %d of %d and %d\n got …%s…\nwant …%s…", at, len(got), len(want), around(got), around(want))
}

// TestPartsAreShared makes anew only the parts in which something has changed, and those
// that are too old.
func TestPartsAreShared(t *testing.T) {
	t.Parallel()
	c := newClock()
	r, _ := newRegistry(t, c)
	for i := range 5000 {
		r.Register(instance(fmt.Sprint("APP", i/500), fmt.Sprintf("i-%04d", i), eureka.StatusUp, start), registry.Origin{})
	}
	const maxAge = time.Hour
	before := r.List(maxAge)
	total := 0
	for _, p := range before.Parts {
		if total += p.Len(); p.Len() > 127 {
			t.Errorf("a part has %d instances, want 127 at most", p.Len())
		}
	}
	if total != 5000 {
		t.Errorf("%d instances in all parts, want 5000", total)
	}
	changed := func() int {
		is := make(map[*registry.Part]bool)
		for _, p := range before.Parts {
			is[p] = true
		}
		n := 0
		before = r.List(maxAge)
		for _, p := range before.Parts {
			if !is[p] {
				n++
			}
		}
		return n
	}
	if got := changed(); got != 0 {
		t.Errorf("%d parts are new, nothing has changed", got)
	}
	key := registry.NewKey("APP3", "i-1777")
	r.Renew(key, eureka.NoTimestamp, "", registry.Origin{})
	if got := changed(); got != 0 {
		t.Errorf("%d parts are new after a renewal, want none", got)
	}
	for what, do := range map[string]func(){
		"status":   func() { r.SetStatus(key, eureka.StatusDown, eureka.NoTimestamp, registry.Origin{}) },
		"register": func() { r.Register(instance("APP3", "i-1777", eureka.StatusUp, start+1), registry.Origin{}) },
		"cancel":   func() { r.Cancel(registry.NewKey("APP5", "i-2600"), registry.Origin{}) },
		"new one":  func() { r.Register(instance("APP9", "i-4800-b", eureka.StatusUp, start), registry.Origin{}) },
	} {
		do()
		if got := changed(); got < 1 || got > 2 {
			t.Errorf("%s: %d parts are new, want 1, or 2 if it was cut", what, got)
		}
	}
	c.Add(maxAge/2 + maxAge/4)
	if got := changed(); got < len(before.Parts)/4 || got > 3*len(before.Parts)/4 {
		t.Errorf("%d of %d parts are new, want about half: neither at once nor never", got, len(before.Parts))
	}
	c.Add(maxAge/4 + time.Second)
	changed()
	for _, p := range before.Parts {
		for i := range p.Instances() {
			if i.ID() == "i-1777" && i.LeaseInfo.LastRenewalTimestamp < start {
				t.Error("an old renewal")
			}
		}
	}
	// All go: the parts go with them.
	for i := range 5000 {
		r.Cancel(registry.NewKey(fmt.Sprint("APP", i/500), fmt.Sprintf("i-%04d", i)), registry.Origin{})
	}
	if got := r.List(maxAge); len(got.Parts) != 1 || got.Parts[0].Len() != 1 {
		t.Errorf("%d parts left, want one of one instance", len(got.Parts))
	}
}
