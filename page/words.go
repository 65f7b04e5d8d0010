package page

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/registryd/registryd/api"
)

// ago puts a time span into words, in its two greatest units. The script has the same
// words.
func ago(d time.Duration) string {
	s := int64(max(0, d) / time.Second)
	pair := func(great int64, g string, small int64, l string) string {
		if small == 0 {
			return fmt.Sprintf("%d %s", great, g)
		}
		return fmt.Sprintf("%d %s %d %s", great, g, small, l)
	}
	switch {
	case s < 60:
		return fmt.Sprintf("%d s", s)
	case s < 3600:
		return pair(s/60, "min", s%60, "s")
	case s < 24*3600:
		return pair(s/3600, "h", s/60%60, "min")
	default:
		return pair(s/(24*3600), "d", s/3600%24, "h")
	}
}

// fine puts a short time span into words: a tenth of a millisecond counts.
func fine(seconds float64) string {
	switch {
	case seconds <= 0:
		return "0 s"
	case seconds < .0001:
		return "under 0.1 ms"
	case seconds < .01:
		return strconv.FormatFloat(seconds*1000, 'f', 1, 64) + " ms"
	case seconds < 1:
		return strconv.FormatFloat(seconds*1000, 'f', 0, 64) + " ms"
	case seconds < 10:
		return strconv.FormatFloat(seconds, 'f', 1, 64) + " s"
	default:
		return ago(span(seconds))
	}
}

func span(seconds float64) time.Duration { return time.Duration(seconds * float64(time.Second)) }

// number writes a count with its thousands apart.
func number[N int | int64 | uint64](n N) string {
	text := strconv.FormatInt(int64(n), 10)
	var out strings.Builder
	for i, c := range text {
		if i > 0 && c != '-' && text[i-1] != '-' && (len(text)-i)%3 == 0 {
			out.WriteByte(',')
		}
		out.WriteRune(c)
	}
	return out.String()
}

// count writes a number of things.
func count[N int | int64 | uint64](n N, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return number(n) + " " + many
}

// level is how much attention something asks for. It is a class of the style sheet.
type level string

const (
	fineLevel level = "ok"
	warnLevel level = "warn"
	badLevel  level = "bad"
)

// trouble is what is wrong, and what ends it, in words.
type trouble struct {
	Level level
	What  string
	Ends  string
}

// Bounds beyond which the page calls something trouble.
const (
	lagBound  = 5 * time.Second
	skewBound = 2 * time.Second
)

// troubleOf returns what is wrong with a peer; ok is false if nothing is.
func troubleOf(p *api.PeerOverview) (t trouble, ok bool) {
	if p.Status == "left" {
		return trouble{
			warnLevel, "It said goodbye " + ago(span(p.Silent)) + " ago.",
			"It gets everything when it starts again. After 5 minutes it is taken off this page.",
		}, true
	}
	if p.Status == "unreachable" {
		t = trouble{
			badLevel, "Nothing was heard of it for " + ago(span(p.Silent)) + ".",
			"What it misses waits here. It ends when it is heard again; after 5 minutes of silence it is taken off " +
				"this page, and gets everything when it comes back.",
		}
		if p.Kind == api.KindEureka {
			t.Ends = "What it misses waits here. It is asked again and again; it ends when it answers."
		}
		return t, true
	}
	if p.Waiting != "" {
		t = trouble{
			warnLevel, waitingFor(p),
			"The next batch is tried in " + fine(p.WaitLeft) + ". It ends when one is answered.",
		}
		if p.Lag >= lagBound.Seconds() {
			t.Level = badLevel
		}
		return t, true
	}
	switch {
	case p.Lag >= lagBound.Seconds():
		return trouble{
			warnLevel, "It is " + fine(p.Lag) + " behind.",
			"It ends when what is in flight is answered.",
		}, true
	case p.Divergent > 0:
		return trouble{
			warnLevel, count(p.Divergent, "instance stays", "instances stay") + " different there.",
			"Both nodes compare themselves every few seconds; it ends when they agree.",
		}, true
	case p.Skew >= skewBound.Seconds() || -p.Skew >= skewBound.Seconds():
		side := "behind"
		if p.Skew < 0 {
			side = "ahead of"
		}
		return trouble{
			warnLevel, "Its clock is " + fine(max(p.Skew, -p.Skew)) + " " + side + " this node's.",
			"Changes of one instance through both nodes at once may be put in the wrong order. " +
				"Set the clocks, for instance by NTP.",
		}, true
	}
	return trouble{}, false
}

// waitingFor says why batches are held back: a class of failures.
func waitingFor(p *api.PeerOverview) string {
	switch p.Waiting {
	case "busy":
		return "It is there, but asked for time: it starts, stops, or has too much to do."
	case "timeout":
		return "It did not answer the last batch in time."
	case "absent":
		return "Nobody takes batches at its address."
	case "disconnected":
		return "This node has no connection over which to reach it."
	case "malformed":
		return "It could not read the last batch. Does it run another version?"
	default:
		return "It could not take all of the last batch."
	}
}

// inTouch is the state of a peer in a word or two.
func inTouch(p *api.PeerOverview) (level, string) {
	switch {
	case p.Status == "left":
		return warnLevel, "stopped"
	case p.Status != "reachable":
		return badLevel, "not reached"
	case p.Waiting != "":
		return warnLevel, "waiting"
	default:
		return fineLevel, "in touch"
	}
}

// stateOf splits the state of a node into a word and the reason behind it.
func stateOf(o *api.Overview) (l level, word, reason string) {
	word, reason, _ = strings.Cut(o.State, ": ")
	switch {
	case word == "ready":
		l = fineLevel
	case o.Ready:
		l = warnLevel
	default:
		l = badLevel
	}
	return l, word, reason
}

// meaning says what a state means for clients.
func meaning(word string, reads bool) string {
	switch {
	case word == "ready":
		return "It takes all requests and knows what its peers know."
	case word == "degraded":
		return "It serves clients, but something is missing."
	case word == "syncing" && !reads:
		return "It catches up with its peers. Until then it gives no lists; clients keep the one they have."
	case word == "waiting":
		return "It started with nothing to serve, and gives no lists until clients have had time to register."
	case word == "superseded":
		return "Another node has this node's name. This one takes no changes."
	case word == "stopping":
		return "It takes no more requests."
	default:
		return ""
	}
}

// preservation says in words what self-preservation does, and why.
func preservation(l *api.LeasesOverview, late, apps int) (state, why string) {
	switch {
	case l.Off:
		return "switched off", "Each instance is removed when its lease is over."
	case !l.SelfPreservation:
		return "inactive", fmt.Sprintf(
			"Instances are removed when their leases are over. "+
				"It begins when at most %s of the leases are renewed, and at least %d are missing.",
			percent(l.Threshold), l.Min)
	}
	since := ""
	if l.Since != nil {
		since = " since " + l.Since.Local().Format("15:04")
	}
	renewed := 0.0
	if l.Expected > 0 {
		renewed = float64(l.Expected-l.Missing) / float64(l.Expected)
	}
	return "on", fmt.Sprintf(
		"Holding %s of %s%s, because only %s of the leases are renewed (%s of %s). "+
			"So many silent at once look like a broken network. It ends when more than %s are renewed.",
		count(late, "expired instance", "expired instances"), count(apps, "application", "applications"), since,
		percent(renewed), number(l.Expected-l.Missing), number(l.Expected), percent(l.Threshold))
}

func percent(share float64) string { return strconv.Itoa(int(share*100)) + " %" }
