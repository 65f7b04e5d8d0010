package bridge_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/registryd/registryd/acceptor"
	"github.com/registryd/registryd/bridge"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// bubble runs a test in fake time.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

// TestActions sends each kind of change, as the items that Eureka's own servers send.
func TestActions(t *testing.T) {
	bubble(t, func(t *testing.T) {
		j := newJava(t)
		n := start(t, j)
		time.Sleep(5 * time.Second)
		step := func(what, want string, do func()) {
			t.Helper()
			j.seen()
			do()
			time.Sleep(time.Second)
			synctest.Wait()
			batches := j.seen()
			if len(batches) != 1 {
				t.Fatalf("%s: %d batches, want 1: %q", what, len(batches), batches)
			}
			list, err := eureka.DecodeReplicationList([]byte(batches[0]), eureka.ListOptions{})
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			var got []string
			for _, item := range list {
				words := []string{string(item.Action)}
				if item.LastDirtyTimestamp != eureka.NoTimestamp {
					words = append(words, fmt.Sprint("ldt=", item.LastDirtyTimestamp))
				}
				if item.Status != "" {
					words = append(words, "status="+string(item.Status))
				}
				if item.OverriddenStatus != "" {
					words = append(words, "overridden="+string(item.OverriddenStatus))
				}
				if i := item.InstanceInfo; i != nil {
					words = append(words, "instance="+string(i.Status)+"/"+string(i.OverriddenStatus))
				}
				got = append(got, strings.Join(words, " "))
			}
			if got := strings.Join(got, ", "); got != want {
				t.Errorf("%s:\n got %s\nwant %s", what, got, want)
			}
		}
		step("register", "Register ldt=1000 status=UP instance=UP/UNKNOWN", func() { n.reg.Register(instance("i", 1000), registry.Origin{}) })
		step("renew", "Heartbeat ldt=1000 status=UP", func() { n.reg.Renew(key("i"), 1000, "", registry.Origin{}) })
		step("override", "DeleteStatusOverride ldt=1000 status=OUT_OF_SERVICE, "+
			"Register ldt=1000 status=OUT_OF_SERVICE instance=OUT_OF_SERVICE/OUT_OF_SERVICE",
			func() { n.reg.SetStatus(key("i"), eureka.StatusOutOfService, eureka.NoTimestamp, registry.Origin{}) })
		both(t, n, j, "i=OUT_OF_SERVICE/OUT_OF_SERVICE")
		step("renew with an override", "Heartbeat ldt=1000 status=OUT_OF_SERVICE overridden=OUT_OF_SERVICE",
			func() { n.reg.Renew(key("i"), 1000, "", registry.Origin{}) })
		step("another override", "DeleteStatusOverride ldt=1000 status=DOWN, Register ldt=1000 status=DOWN instance=DOWN/DOWN",
			func() { n.reg.SetStatus(key("i"), eureka.StatusDown, eureka.NoTimestamp, registry.Origin{}) })
		both(t, n, j, "i=DOWN/DOWN")
		step("no override", "DeleteStatusOverride ldt=1000 status=UP, Register ldt=1000 status=UP instance=UP/UNKNOWN",
			func() { n.reg.DeleteStatusOverride(key("i"), eureka.StatusUp, eureka.NoTimestamp, registry.Origin{}) })
		both(t, n, j, "i=UP/UNKNOWN")
		step("metadata", "Register ldt=1000 status=UP instance=UP/UNKNOWN",
			func() { n.reg.SetMetadata(key("i"), map[string]string{"zone": "b"}, registry.Origin{}) })
		if i, ok := j.reg.Instance(key("i")); !ok || i.Metadata["zone"] != "b" {
			t.Errorf("metadata at the Java server: %v", i)
		}
		step("cancel, register", "Cancel, Register ldt=2000 status=UP instance=UP/UNKNOWN", func() {
			n.reg.Cancel(key("i"), registry.Origin{})
			n.reg.Register(instance("i", 2000), registry.Origin{})
		})
		both(t, n, j, "i=UP/UNKNOWN")
		step("cancel", "Cancel", func() { n.reg.Cancel(key("i"), registry.Origin{}) })
		both(t, n, j, "")
	})
}

// TestNothingIsSentOn receives from the Java server, and sends none of it back.
func TestNothingIsSentOn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		j := newJava(t)
		n := start(t, j)
		time.Sleep(5 * time.Second)
		n.reg.Register(instance("theirs", 1000), registry.Origin{Way: registry.ByReplication})
		n.reg.Renew(key("theirs"), 1000, "", registry.Origin{Way: registry.ByReplication})
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := j.seen(); len(got) > 0 {
			t.Errorf("sent back: %q", got)
		}
	})
}

// TestLocalOnly asks a Java server that shows other regions for its own instances: what it
// shows of others would become this node's own.
func TestLocalOnly(t *testing.T) {
	for _, only := range []bool{false, true} {
		bubble(t, func(t *testing.T) {
			j := newJava(t)
			j.localOnly = only
			start(t, j)
			time.Sleep(40 * time.Second)
			j.set(func(j *java) {
				want := map[bool]string{true: "regions=local-only"}[only]
				if len(j.queries) < 2 || slices.ContainsFunc(j.queries, func(q string) bool { return q != want }) {
					t.Errorf("only local %v: queries %q, want %q in each", only, j.queries, want)
				}
			})
		})
	}
}

// TestOutage keeps what it could not send for as long as the peer is away, and sends
// it when the peer is back.
func TestOutage(t *testing.T) {
	for name, fault := range map[string]func(*java, bool){
		"refuses connections": func(j *java, on bool) { j.down = on },
		"hangs":               func(j *java, on bool) { j.hangs = on },
		"is busy": func(j *java, on bool) {
			j.status = nil
			if on {
				j.status = func(string) int { return 503 }
			}
		},
		"wants a login": func(j *java, on bool) {
			j.status = nil
			if on {
				j.status = func(string) int { return 401 }
			}
		},
		"fails": func(j *java, on bool) {
			j.status = nil
			if on {
				j.status = func(string) int { return 500 }
			}
		},
		"loses results": func(j *java, on bool) {
			j.answer = nil
			if on {
				j.answer = func(string) string { return `{"responseList":[]}` }
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				j := newJava(t)
				n := start(t, j)
				n.reg.Register(instance("stays", 1000), registry.Origin{})
				n.reg.Register(instance("ends", 1000), registry.Origin{})
				time.Sleep(5 * time.Second)
				both(t, n, j, "ends=UP/UNKNOWN stays=UP/UNKNOWN")
				j.set(func(j *java) { fault(j, true) })
				n.reg.Cancel(key("ends"), registry.Origin{})
				n.reg.Register(instance("new", 1000), registry.Origin{})
				n.reg.SetStatus(key("stays"), eureka.StatusOutOfService, eureka.NoTimestamp, registry.Origin{})
				pass(3*time.Minute, func() {
					n.reg.Renew(key("stays"), 1000, "", registry.Origin{})
					n.reg.Renew(key("new"), 1000, "", registry.Origin{})
				})
				j.set(func(j *java) { fault(j, false) })
				time.Sleep(35 * time.Second)
				both(t, n, j, "new=UP/UNKNOWN stays=OUT_OF_SERVICE/OUT_OF_SERVICE")
				if p := n.cluster.Peers()[0]; p.Acceptor.Pending()+p.Acceptor.InFlight != 0 || dropped(p.Acceptor.Dropped) != 0 {
					t.Errorf("pipeline: %+v", p.Acceptor)
				}
			})
		})
	}
}

func dropped(by map[acceptor.Reason]uint64) (sum uint64) {
	for _, n := range by {
		sum += n
	}
	return sum
}

// TestPoison has one instance that makes the peer refuse a whole batch. The batch is
// halved down to it, and the others arrive.
func TestPoison(t *testing.T) {
	for _, code := range []int{400, 403, 500} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				j := newJava(t)
				j.set(func(j *java) {
					j.status = func(body string) int {
						if strings.Contains(body, "poison") {
							return code
						}
						return 0
					}
				})
				n := start(t, j)
				time.Sleep(5 * time.Second)
				var want []string
				for i := range 20 {
					id := fmt.Sprintf("i%02d", i)
					want = append(want, id+"=UP/UNKNOWN")
					n.reg.Register(instance(id, 1000), registry.Origin{})
				}
				poison := instance("poison", 1000)
				poison.LeaseInfo.DurationInSecs = 3600
				n.reg.Register(poison, registry.Origin{})
				pass(5*time.Minute, func() { // some rounds
					for i := range 20 {
						n.reg.Renew(key(fmt.Sprintf("i%02d", i)), 1000, "", registry.Origin{})
					}
				})
				synctest.Wait()
				if got := shown(j.reg); got != strings.Join(want, " ") {
					t.Errorf("the Java server shows %s", got)
				}
				p := n.cluster.Peers()[0]
				if got := p.Acceptor.Dropped[acceptor.Malformed]; got != 1 {
					t.Errorf("%d dropped as malformed, want 1: %v", got, p.Acceptor.Dropped)
				}
				if !strings.Contains(n.log.String(), "USERS/poison") {
					t.Error("no log line names the instance to blame")
				}
			})
		})
	}
}

// TestResults acts on each item's result.
func TestResults(t *testing.T) {
	bubble(t, func(t *testing.T) {
		j := newJava(t)
		n := start(t, j)
		time.Sleep(5 * time.Second)
		n.reg.Register(instance("i", 1000), registry.Origin{})
		time.Sleep(time.Second)

		// 404 to a heartbeat: the whole instance follows.
		j.restart()
		n.reg.Renew(key("i"), 1000, "", registry.Origin{})
		time.Sleep(2 * time.Second)
		both(t, n, j, "i=UP/UNKNOWN")

		// 409: the peer's copy is later, and comes here with its override.
		n.reg.SetStatus(key("i"), eureka.StatusDown, eureka.NoTimestamp, registry.Origin{Way: registry.ByReplication})
		j.reg.Register(instance("i", 5000), registry.Origin{Way: registry.ByReplication})
		j.reg.SetStatus(key("i"), eureka.StatusOutOfService, eureka.NoTimestamp, registry.Origin{Way: registry.ByReplication})
		n.reg.Renew(key("i"), 1000, "", registry.Origin{})
		time.Sleep(2 * time.Second)
		both(t, n, j, "i=OUT_OF_SERVICE/OUT_OF_SERVICE")
		if i, _ := n.reg.Instance(key("i")); i.LastDirtyTimestamp != 5000 {
			t.Errorf("lastDirtyTimestamp %d, want the peer's 5000", i.LastDirtyTimestamp)
		}
	})
}

// TestStaleHeartbeat does not prolong a lease at the peer that was not renewed here for
// longer than an interval.
func TestStaleHeartbeat(t *testing.T) {
	bubble(t, func(t *testing.T) {
		j := newJava(t)
		n := start(t, j)
		time.Sleep(5 * time.Second)
		n.reg.Register(instance("i", 1000), registry.Origin{})
		time.Sleep(time.Second)
		j.set(func(j *java) { j.down = true })
		n.reg.Renew(key("i"), 1000, "", registry.Origin{})
		time.Sleep(32 * time.Second)
		j.seen()
		j.set(func(j *java) { j.down = false })
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if got := j.seen(); slices.ContainsFunc(got, func(b string) bool { return strings.Contains(b, "Heartbeat") }) {
			t.Errorf("a heartbeat of 32 s ago was sent: %q", got)
		}
	})
}

// TestOneBatchInFlight keeps the items of an instance in order.
func TestOneBatchInFlight(t *testing.T) {
	bubble(t, func(t *testing.T) {
		j := newJava(t)
		n := start(t, j)
		time.Sleep(5 * time.Second)
		for i := range 1000 {
			n.reg.Register(instance(fmt.Sprint("i", i), 1000), registry.Origin{})
		}
		j.set(func(j *java) { j.hangs = true })
		time.Sleep(time.Second)
		synctest.Wait()
		if p := n.cluster.Peers()[0]; p.Batcher.InFlight > 1 {
			t.Errorf("%d batches in flight, want 1", p.Batcher.InFlight)
		}
	})
}

// TestComparison repairs what neither side has told the other, in two rounds.
func TestComparison(t *testing.T) {
	bubble(t, func(t *testing.T) {
		j := newJava(t)
		n := start(t, j)
		time.Sleep(5 * time.Second)
		for _, id := range []string{"cancelled-here", "cancelled-there", "changed-here", "changed-there", "overridden-there", "kept"} {
			n.reg.Register(instance(id, 1000), registry.Origin{})
		}
		time.Sleep(time.Minute - time.Second) // both list them
		renew := func() {
			for _, id := range []string{"changed-here", "changed-there", "kept", "new-here"} {
				n.reg.Renew(key(id), 1000, "", registry.Origin{})
			}
			for _, id := range []string{"overridden-there", "new-there"} {
				j.reg.Renew(key(id), 1000, "", registry.Origin{Way: registry.ByReplication})
			}
		}
		// What each side does is not told: isReplication is true.
		n.reg.Cancel(key("cancelled-here"), registry.Origin{Way: registry.ByReplication})
		n.reg.Renew(key("cancelled-there"), 1000, "", registry.Origin{Way: registry.ByReplication}) // at the peer, which told us of this one
		j.reg.Cancel(key("cancelled-there"), registry.Origin{Way: registry.ByReplication})
		n.reg.Register(instance("new-here", 1000), registry.Origin{Way: registry.ByReplication})
		j.reg.Register(instance("new-there", 1000), registry.Origin{Way: registry.ByReplication})
		n.reg.Register(instance("changed-here", 2000), registry.Origin{Way: registry.ByReplication})
		j.reg.Register(instance("changed-there", 3000), registry.Origin{Way: registry.ByReplication})
		j.reg.SetStatus(key("overridden-there"), eureka.StatusOutOfService, eureka.NoTimestamp, registry.Origin{Way: registry.ByReplication})
		pass(100*time.Second, renew)
		both(t, n, j, "changed-here=UP/UNKNOWN changed-there=UP/UNKNOWN kept=UP/UNKNOWN new-here=UP/UNKNOWN "+
			"new-there=UP/UNKNOWN overridden-there=OUT_OF_SERVICE/OUT_OF_SERVICE")
		for id, want := range map[string]int64{"changed-here": 2000, "changed-there": 3000} {
			ours, _ := n.reg.Instance(key(id))
			theirs, _ := j.reg.Instance(key(id))
			if ours.LastDirtyTimestamp != want || theirs.LastDirtyTimestamp != want {
				t.Errorf("%s: %d here, %d there, want %d", id, ours.LastDirtyTimestamp, theirs.LastDirtyTimestamp, want)
			}
		}
		pass(60*time.Second, renew)
		if p := n.cluster.Peers()[0]; p.Divergent != 0 {
			t.Errorf("%d divergent, want 0", p.Divergent)
		}
	})
}

// TestUnderWay leaves alone what differs in one round only: it may be on its way.
func TestUnderWay(t *testing.T) {
	bubble(t, func(t *testing.T) {
		j := newJava(t)
		n := start(t, j)
		n.reg.Register(instance("i", 1000), registry.Origin{})
		j.reg.Register(instance("other", 1000), registry.Origin{Way: registry.ByReplication}) // else it looks like a restart
		n.reg.Register(instance("other", 1000), registry.Origin{Way: registry.ByReplication})
		time.Sleep(5 * time.Second)
		pass(40*time.Second, func() { n.reg.Renew(key("i"), 1000, "", registry.Origin{}) })
		time.Sleep(time.Second)
		synctest.Wait()
		j.seen()
		j.reg.Cancel(key("i"), registry.Origin{Way: registry.ByReplication}) // its message to us takes a while
		for range 25 {
			time.Sleep(time.Second)
			synctest.Wait()
			if got := shown(n.reg); got != "i=UP/UNKNOWN other=UP/UNKNOWN" {
				t.Fatalf("the first difference counted: %q", got)
			}
			if got := j.seen(); len(got) > 0 {
				t.Fatalf("the first difference counted: %q", got)
			}
		}
		n.reg.Cancel(key("i"), registry.Origin{Way: registry.ByReplication})
		time.Sleep(time.Minute)
		both(t, n, j, "other=UP/UNKNOWN")
	})
}

// TestUnderWayWhenAsked is the same for a comparison that was asked for: what has just
// changed here may be on its way.
func TestUnderWayWhenAsked(t *testing.T) {
	bubble(t, func(t *testing.T) {
		j := newJava(t)
		n := start(t, j)
		time.Sleep(10 * time.Second)
		n.reg.Register(instance("i", time.Now().UnixMilli()), registry.Origin{Way: registry.ByReplication}) // another node tells the peer
		n.peer.Compare()
		time.Sleep(15 * time.Second)
		synctest.Wait()
		if got := j.seen(); len(got) > 0 {
			t.Fatalf("the first difference counted: %q", got)
		}
		time.Sleep(time.Minute)
		both(t, n, j, "i=UP/UNKNOWN")

		// A cancel there, whose message is on its way to us.
		j.reg.Renew(key("i"), eureka.NoTimestamp, "", registry.Origin{Way: registry.ByReplication})
		n.reg.Renew(key("i"), eureka.NoTimestamp, "", registry.Origin{Way: registry.ByReplication})
		j.reg.Register(instance("other", 1000), registry.Origin{Way: registry.ByReplication}) // else it looks like a restart
		n.reg.Register(instance("other", 1000), registry.Origin{Way: registry.ByReplication})
		time.Sleep(40 * time.Second)
		j.reg.Cancel(key("i"), registry.Origin{Way: registry.ByReplication})
		n.peer.Compare()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if got := shown(n.reg); got != "i=UP/UNKNOWN other=UP/UNKNOWN" {
			t.Errorf("the first difference counted: %q", got)
		}
	})
}

// TestEmptyRestart makes a peer whole that has forgotten everything, without the help
// of any client.
func TestEmptyRestart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		j := newJava(t)
		n := start(t, j)
		var want []string
		for i := range 30 {
			id := fmt.Sprintf("i%02d", i)
			want = append(want, id+"=UP/UNKNOWN")
			if i%2 == 0 {
				n.reg.Register(instance(id, 1000), registry.Origin{})
			} else { // at the peer, which told us
				j.reg.Register(instance(id, 1000), registry.Origin{})
				n.reg.Register(instance(id, 1000), registry.Origin{Way: registry.ByReplication})
			}
		}
		time.Sleep(75 * time.Second) // two comparisons have seen it
		both(t, n, j, strings.Join(want, " "))
		want = append(want, "late=UP/UNKNOWN")
		j.reg.Register(instance("late", time.Now().UnixMilli()), registry.Origin{})
		n.reg.Register(instance("late", time.Now().UnixMilli()), registry.Origin{Way: registry.ByReplication})
		j.set(func(j *java) { j.down = true })
		time.Sleep(10 * time.Second) // there is nothing to send, yet the outage is noticed
		j.restart()
		j.set(func(j *java) { j.down = false })
		if got := shown(j.reg); got != "" {
			t.Fatalf("after its restart the peer shows %s", got)
		}
		time.Sleep(5 * time.Second)
		both(t, n, j, strings.Join(want, " "))
	})
}

// TestDeadStayDead takes nothing from the peer that has expired there, and sends its
// own cancel for what the peer still lists.
func TestDeadStayDead(t *testing.T) {
	bubble(t, func(t *testing.T) {
		j := newJava(t) // it never evicts
		n := start(t, j)
		j.reg.Register(instance("silent", 1000), registry.Origin{Way: registry.ByReplication})
		time.Sleep(10 * time.Minute) // it was taken, and has expired
		if got := n.reg.Evict(); got != 1 {
			t.Fatalf("%d evicted, want 1", got)
		}
		for range 40 {
			time.Sleep(10 * time.Second)
			synctest.Wait()
			n.reg.Evict()
			if got := shown(n.reg); got != "" {
				t.Fatalf("registryd shows %s", got)
			}
		}
	})
}

// TestLeaseOfThePeer keeps an instance whose heartbeats reach only the peer.
func TestLeaseOfThePeer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		j := newJava(t)
		n := start(t, j)
		time.Sleep(5 * time.Second)
		j.reg.Register(instance("i", 1000), registry.Origin{Way: registry.ByReplication})
		time.Sleep(time.Minute)
		pass(20*time.Minute, func() {
			j.reg.Renew(key("i"), 1000, "", registry.Origin{Way: registry.ByReplication})
			n.reg.Evict()
			both(t, n, j, "i=UP/UNKNOWN")
		})
	})
}

// TestStartFromJava takes everything from the peer before a node serves that has no
// other, whatever the status.
func TestStartFromJava(t *testing.T) {
	bubble(t, func(t *testing.T) {
		j := newJava(t)
		for i, s := range []eureka.Status{eureka.StatusUp, eureka.StatusDown, eureka.StatusStarting, eureka.StatusOutOfService} {
			info := instance(fmt.Sprint("i", i), 1000)
			info.Status = s
			j.reg.Register(info, registry.Origin{Way: registry.ByReplication})
		}
		j.reg.SetStatus(key("i0"), eureka.StatusOutOfService, eureka.NoTimestamp, registry.Origin{Way: registry.ByReplication})
		j.set(func(j *java) { j.down = true })
		n := start(t, j)
		time.Sleep(20 * time.Second)
		if n.cluster.MayRead() {
			t.Fatal("it serves before the peer has answered")
		}
		j.set(func(j *java) { j.down = false })
		time.Sleep(5 * time.Second)
		if !n.cluster.MayRead() {
			t.Fatal("it does not serve")
		}
		both(t, n, j, "i0=OUT_OF_SERVICE/OUT_OF_SERVICE i1=DOWN/UNKNOWN i2=STARTING/UNKNOWN i3=OUT_OF_SERVICE/UNKNOWN")
	})
}

// TestStartWithoutJava serves after the usual wait, degraded, and takes what the peer
// has when it comes.
func TestStartWithoutJava(t *testing.T) {
	bubble(t, func(t *testing.T) {
		j := newJava(t)
		j.set(func(j *java) { j.down = true })
		n := start(t, j)
		time.Sleep(61 * time.Second)
		if s := n.cluster.Status(); !s.Ready || s.Text != "degraded: initial sync incomplete" {
			t.Errorf("state %+v", s)
		}
		j.reg.Register(instance("i", 1000), registry.Origin{Way: registry.ByReplication})
		j.set(func(j *java) { j.down = false })
		time.Sleep(10 * time.Second)
		both(t, n, j, "i=UP/UNKNOWN")
		if s := n.cluster.Status(); s.Text != "ready" {
			t.Errorf("state %+v", s)
		}
	})
}

// TestSecrets shows a password to nobody but the peer.
func TestSecrets(t *testing.T) {
	bubble(t, func(t *testing.T) {
		j := newJava(t)
		n := start(t, j)
		n.reg.Register(instance("i", 1000), registry.Origin{})
		time.Sleep(2 * time.Second)
		j.set(func(j *java) { j.down = true })
		n.reg.Renew(key("i"), 1000, "", registry.Origin{})
		time.Sleep(time.Minute)
		j.set(func(j *java) {
			if len(j.logins) != 1 || !j.logins["me:secret"] {
				t.Errorf("logins %v, want me:secret", j.logins)
			}
		})
		p := n.cluster.Peers()[0]
		for what, text := range map[string]string{"log": n.log.String(), "url": p.URL, "name": p.Name} {
			if strings.Contains(text, "secret") {
				t.Errorf("%s shows the password", what)
			}
		}
		if p.Name != "java-java-example-8761" || p.URL != "http://java.example:8761/eureka/" || !p.Foreign {
			t.Errorf("peer %+v", p)
		}
		for _, bad := range []string{"http://u:hush@", "ftp://u:hush@h", "http://u:hush@h:8761/eureka/?x=1", "://u:hush", "http://u:hush@h:port/"} {
			_, err := bridge.New(bridge.Options{URL: bad, Registry: n.reg})
			if err == nil || strings.Contains(err.Error(), "hush") {
				t.Errorf("%s: error %v", bad, err)
			}
		}
	})
}

// TestAdoptsNothingBad keeps what a peer must not send out of the registry.
func TestAdoptsNothingBad(t *testing.T) {
	bubble(t, func(t *testing.T) {
		j := newJava(t)
		n := start(t, j)
		n.reg.Register(instance("i", 1000), registry.Origin{})
		time.Sleep(5 * time.Second)
		j.set(func(j *java) {
			j.answer = func(string) string {
				other := eureka.AppendResult(nil, &eureka.Result{StatusCode: 409, ResponseEntity: instance("other", 9000)})
				return `{"responseList":[` + string(other) + `]}`
			}
		})
		n.reg.Renew(key("i"), 1000, "", registry.Origin{})
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := shown(n.reg); got != "i=UP/UNKNOWN" {
			t.Errorf("registryd shows %s", got)
		}
	})
}
