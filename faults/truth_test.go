//go:build faults

package faults_test

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"sync"
	"time"

	"github.com/registryd/registryd/eureka"
)

// listed is what a reader sees of an instance.
type listed struct {
	Status, Override eureka.Status
	Metadata         map[string]string
}

// list reads all instances of a node, by id.
func (l *lab) list(n *node) (map[string]listed, error) {
	code, body, err := l.get(n, "/eureka/apps")
	if err != nil {
		return nil, err
	}
	if code != http.StatusOK {
		return nil, fmt.Errorf("list of %s: %d", n.name, code)
	}
	apps, err := eureka.DecodeApplications(eureka.JSON, body)
	if err != nil {
		return nil, err
	}
	out := map[string]listed{}
	for _, app := range apps.Applications {
		for _, i := range app.Instances {
			if _, twice := out[i.ID()]; twice {
				return nil, fmt.Errorf("%s lists %s twice", n.name, i.ID())
			}
			out[i.ID()] = listed{i.Status, i.OverriddenStatus, i.Metadata}
		}
	}
	return out, nil
}

// maxFaults is how many differences of one node are reported.
const maxFaults = 5

// check compares one node's list with the true state, while the fleet is held.
// It returns the instances that differ, and describes how.
func (f *fleet) check(n *node) (wrong []*instance, err error) {
	before := time.Now()
	list, err := f.lab.list(n)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	started := n.started
	n.mu.Unlock()
	var errs []error
	fault := func(i *instance, format string, args ...any) {
		wrong = append(wrong, i)
		if len(errs) < maxFaults {
			errs = append(errs, fmt.Errorf("%s: %s: %s", n.name, i.id, fmt.Sprintf(format, args...)))
		}
	}
	for _, i := range f.all() {
		now := i.snapshot()
		got, present := list[i.id]
		delete(list, i.id)
		// An instance whose client ended without a cancel is listed until its lease
		// ends, and its lease is extended when its node starts.
		last := now.since
		if started.After(last) {
			last = started
		}
		expiring := before.Before(last.Add(f.expiry()))
		switch {
		case now.state == live && !present:
			fault(i, "its client sends heartbeats, and it is not listed")
		case now.state == live:
			want := listed{now.info.Status, eureka.StatusUnknown, now.info.Metadata}
			if now.override != "" {
				want.Status, want.Override = now.override, now.override
			}
			if got.Status != want.Status || got.Override != want.Override || !maps.Equal(got.Metadata, want.Metadata) {
				fault(i, "listed as %v, want %v; last taken by %s %v ago", got, want, now.node, time.Since(now.at).Round(time.Millisecond))
			}
		case !present:
		case now.state == cancelled && (!now.lost || !expiring):
			fault(i, "was cancelled %v ago at %s, and is listed", time.Since(now.since), now.node)
		case now.state == left && !expiring:
			fault(i, "sent its last heartbeat more than %v ago, and is listed", time.Since(now.since))
		}
	}
	for id := range list {
		errs = append(errs, fmt.Errorf("%s lists %s, which never was", n.name, id))
	}
	return wrong, errors.Join(errs...)
}

// settle waits until every node lists the true state, and returns how long that
// took from the moment when nothing changed any more.
func (f *fleet) settle(what string) time.Duration {
	f.lab.t.Helper()
	return f.settleNodes(what, f.lab.nodes...)
}

func (f *fleet) settleNodes(what string, nodes ...*node) time.Duration {
	f.lab.t.Helper()
	f.hold()
	defer f.release()
	return eventually(f.lab.t, "after "+what+" all nodes list the true state", func() error {
		errs := make([]error, len(nodes))
		var looks sync.WaitGroup
		for k, n := range nodes {
			looks.Go(func() {
				var wrong []*instance
				wrong, errs[k] = f.check(n)
				for _, i := range wrong {
					if i.snapshot().lost {
						i.again(f.ctx)
					}
				}
			})
		}
		looks.Wait()
		return errors.Join(errs...)
	})
}

// firstList waits for the first list of a node that starts while its peers run.
// It must hold every instance that the peers have listed all along.
func (f *fleet) firstList(n *node) {
	f.lab.t.Helper()
	var looks sync.WaitGroup
	var before map[string]bool
	var failed error
	looks.Go(func() { before, failed = f.known(n) })
	var list map[string]listed
	for begin := time.Now(); list == nil; pause(2 * time.Millisecond) {
		var err error
		if list, err = f.lab.list(n); err != nil && time.Since(begin) > patience {
			f.lab.t.Fatalf("%s serves no list: %v", n.name, err)
		}
	}
	looks.Wait()
	after, err := f.known(n)
	if err = errors.Join(failed, err); err != nil {
		f.lab.t.Fatalf("the lists of the peers of %s: %v", n.name, err)
	}
	missing, all := 0, 0
	for _, i := range f.all() {
		if i.kind != steady || !before[i.id] || !after[i.id] {
			continue
		}
		all++
		if _, ok := list[i.id]; !ok {
			missing++
		}
	}
	switch {
	case all == 0:
		f.lab.violateUnlessSuspended("%s started, and its peers list no instance to compare its first list with", n.name)
	case missing > 0:
		f.lab.violateUnlessSuspended("%s started, and its first list lacks %d of %d instances that its peers listed all along", n.name, missing, all)
	}
}

// known returns the instances that all other nodes list.
func (f *fleet) known(but *node) (map[string]bool, error) {
	count := map[string]int{}
	for _, n := range f.lab.nodes {
		if n == but {
			continue
		}
		list, err := f.lab.list(n)
		if err != nil {
			return nil, err
		}
		for id := range list {
			count[id]++
		}
	}
	all := map[string]bool{}
	for id, n := range count {
		all[id] = n == len(f.lab.nodes)-1
	}
	return all, nil
}

// found forgets the possible losses, once the lists are right.
func (f *fleet) found() {
	for _, i := range f.all() {
		i.update(func() { i.lost = i.lost && i.state != live })
	}
}

// settleExpired also waits until every instance whose client ended without a
// cancel can have expired everywhere.
func (f *fleet) settleExpired(what string) {
	f.lab.t.Helper()
	var latest time.Time
	for _, i := range f.all() {
		if now := i.snapshot(); now.state != live && now.since.After(latest) {
			latest = now.since
		}
	}
	for _, n := range f.lab.nodes {
		n.mu.Lock()
		if n.started.After(latest) {
			latest = n.started
		}
		n.mu.Unlock()
	}
	pause(time.Until(latest.Add(f.expiry())))
	f.settle(what + " and the end of the leases")
}
