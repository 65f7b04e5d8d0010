package tail

import (
	"slices"
	"strings"

	"github.com/registryd/registryd/eureka"
)

// Filter says which tasks are printed. The zero value prints all; what is set must all hold.
type Filter struct {
	NoHeartbeats bool     // leaves out heartbeats
	Apps         []string // only these applications, in any case
	Instances    []string // only these ids
	Actions      []string // only these actions, in any case, see [eureka.Action]
	Failed       bool     // only tasks with another result than ok
}

// Actions returns the actions that a task may have, for [Filter].
func Actions() []string {
	return []string{
		string(eureka.ActionRegister), string(eureka.ActionHeartbeat), string(eureka.ActionCancel),
		string(eureka.ActionStatusUpdate), string(eureka.ActionDeleteStatusOverride),
	}
}

func (f *Filter) shows(t *task, o *outcome) bool {
	is := func(text string) func(string) bool {
		return func(other string) bool { return strings.EqualFold(text, other) }
	}
	switch {
	case f.NoHeartbeats && t.action == string(eureka.ActionHeartbeat):
		return false
	case len(f.Apps) > 0 && !slices.ContainsFunc(f.Apps, func(app string) bool {
		return eureka.Upper(app) == eureka.Upper(t.app)
	}):
		return false
	case len(f.Instances) > 0 && !slices.Contains(f.Instances, t.id):
		return false
	case len(f.Actions) > 0 && !slices.ContainsFunc(f.Actions, is(t.action)):
		return false
	default:
		return !f.Failed || o.result != resultOK
	}
}
