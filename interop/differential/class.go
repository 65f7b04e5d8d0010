package differential

import (
	"slices"
	"strings"
)

// class is a deliberate difference: what may differ, and when. Its name stands in
// docs/eureka-compatibility.md, in the row that says why.
type class struct {
	name string

	// instead returns what Java is asked when it refused what registryd takes, so that
	// both know the same afterwards. It returns nil if that is not so.
	instead func(x *exchange) *request

	// explains reports whether a difference is of this class.
	explains func(x *exchange, d difference) bool

	// parts reports that the two know different things after such a difference, so that the
	// sequence ends.
	parts bool

	// ends reports whether the two know different things after a request although their
	// answers may not show it, so that the sequence ends.
	ends func(x *exchange) bool
}

// exchange is a request with its answers, and what came before.
type exchange struct {
	request    *request // as Java got it
	java, ours *answer
	past       *history
}

// history is what a sequence's requests have done so far.
type history struct {
	token  string
	acts   []act
	bodies []string
}

// id is an act's instance as it stands in answers.
func (h *history) id(a act) string { return strings.ReplaceAll(a.id, tokenMark, h.token) }

// sent reports whether a body held this text.
func (h *history) sent(text string) bool {
	return slices.ContainsFunc(h.bodies, func(body string) bool { return strings.Contains(body, text) })
}

// any reports whether any act on the instance that a difference is in, the request's among them,
// is such. A hash code, and an answer that shows no instance, are about all.
func (x *exchange) any(d difference, such func(act) bool) bool {
	id := d.instance()
	return slices.ContainsFunc(slices.Concat(x.past.acts, x.request.about), func(a act) bool {
		return (id == "" || id == x.past.id(a)) && such(a)
	})
}

// twins reports whether the id of the instance that a difference is in was used in two
// applications.
func (x *exchange) twins(d difference) bool {
	return x.any(d, func(a act) bool {
		return x.any(d, func(b act) bool { return a.id == b.id && a.app != b.app })
	})
}

// revives reports whether a peer registers what was cancelled before, with a timestamp that
// is not newer.
func (x *exchange) revives() bool {
	past := slices.Clone(x.past.acts)
	for _, a := range x.request.about {
		newest, cancelled := int64(0), false
		for _, before := range past {
			if before.app == a.app && before.id == a.id {
				newest = max(newest, before.latest())
				cancelled = cancelled || before.kind == cancels
			}
		}
		if a.kind == registers && a.replica && cancelled && a.earliest() <= newest {
			return true
		}
		past = append(past, a)
	}
	return false
}
