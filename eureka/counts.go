package eureka

import "strconv"

// StatusCounts counts instances by status for [StatusCounts.HashCode]. The zero
// value counts none. It is a value to copy, and does not lock.
type StatusCounts struct {
	n [len(hashOrder)]int
}

// hashOrder lists the statuses as apps__hashcode does: by name.
var hashOrder = [...]Status{StatusDown, StatusOutOfService, StatusStarting, StatusUnknown, StatusUp}

// statusIndex returns the place of s in hashOrder. What readers get as UNKNOWN
// counts as UNKNOWN.
func statusIndex(s Status) int {
	switch s {
	case StatusDown:
		return 0
	case StatusOutOfService:
		return 1
	case StatusStarting:
		return 2
	case StatusUp:
		return 4
	default:
		return 3
	}
}

// Add counts an instance.
func (c *StatusCounts) Add(s Status) { c.n[statusIndex(s)]++ }

// Remove takes back an [StatusCounts.Add] of the same status.
func (c *StatusCounts) Remove(s Status) { c.n[statusIndex(s)]-- }

// Plus counts all that o counted, too.
func (c *StatusCounts) Plus(o StatusCounts) {
	for i, n := range o.n {
		c.n[i] += n
	}
}

// Minus takes back a [StatusCounts.Plus] of the same counts.
func (c *StatusCounts) Minus(o StatusCounts) {
	for i, n := range o.n {
		c.n[i] -= n
	}
}

// Statuses returns the five statuses in the order of the hash code.
func Statuses() []Status { return append([]Status(nil), hashOrder[:]...) }

// Count returns how many instances have the status.
func (c *StatusCounts) Count(s Status) int { return c.n[statusIndex(s)] }

// HashCode returns Eureka's apps__hashcode of the counts: each status that
// occurs, by name, with its number, as in "DOWN_1_UP_8_". It is empty when
// nothing was counted. A client that computes another one from what it holds
// fetches everything anew.
func (c *StatusCounts) HashCode() string {
	var room [96]byte
	dst := room[:0]
	for i, s := range hashOrder {
		if c.n[i] <= 0 {
			continue
		}
		dst = append(append(dst, s...), '_')
		dst = append(strconv.AppendInt(dst, int64(c.n[i]), 10), '_')
	}
	return string(dst)
}

// StatusCounts counts the instances listed.
func (a *Applications) StatusCounts() StatusCounts {
	var c StatusCounts
	for _, app := range a.Applications {
		for _, i := range app.Instances {
			c.Add(i.Status)
		}
	}
	return c
}
