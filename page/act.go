package page

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/registryd/registryd/access"
	"github.com/registryd/registryd/api"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// action is something that the page may do.
type action struct {
	name     string
	label    string
	question string // asked before
	effect   string // what it does, and how it is undone
	done     string // said afterwards
	danger   bool
	node     bool // of the node, not of an instance
	do       func(p *Page, key registry.Key, by registry.Origin) registry.Outcome
}

// actions are all of them.
func actions() []action {
	return []action{
		{
			name: "out-of-service", label: "Take out of service", question: "Take this instance out of service?",
			effect: "Clients no longer use it once they have fetched the list, within 30 seconds by default. " +
				"It goes on running, and sends its heartbeats. Undo it with “Put back into service”.",
			done: "You took it out of service.",
			do: func(p *Page, key registry.Key, by registry.Origin) registry.Outcome {
				return p.reg.SetStatus(key, eureka.StatusOutOfService, eureka.NoTimestamp, by)
			},
		},
		{
			name: "drain", label: "Drain", question: "Drain this instance?",
			effect: "It is taken out of service, and goes on running. Its page then says which clients have not " +
				"been served a list without it yet, and when all have, so that it may be stopped. Undo it with " +
				"“Put back into service”.",
			done: "You began to drain it.",
			do: func(p *Page, key registry.Key, by registry.Origin) registry.Outcome {
				return p.opts.Node.Drain(key, by)
			},
		},
		{
			name: "up", label: "Put back into service", question: "Put this instance back into service?",
			effect: "The override is removed. The instance is up until its client says otherwise.",
			done:   "You removed the override.",
			do: func(p *Page, key registry.Key, by registry.Origin) registry.Outcome {
				return p.reg.DeleteStatusOverride(key, eureka.StatusUp, eureka.NoTimestamp, by)
			},
		},
		{
			name: "cancel", label: "Cancel its lease", question: "Cancel the lease of this instance?", danger: true,
			effect: "It disappears from all lists at once. If its client still runs, it registers again with its " +
				"next heartbeat.",
			done: "You cancelled it.",
			do: func(p *Page, key registry.Key, by registry.Origin) registry.Outcome {
				return p.reg.Cancel(key, by)
			},
		},
		{
			name: "repair", label: "Compare with all peers now", question: "Compare this node with all its peers now?",
			effect: "What differs is exchanged. Nodes also do this by themselves every few seconds.",
			done:   "The comparison has begun.", node: true,
			do: func(p *Page, _ registry.Key, _ registry.Origin) registry.Outcome {
				p.opts.Node.Repair()
				return registry.OK
			},
		},
	}
}

func findAction(name string) (action, bool) {
	for _, a := range actions() {
		if a.name == name {
			return a, true
		}
	}
	return action{}, false
}

// done says that an action was taken.
func done(name string) string {
	a, _ := findAction(name)
	return a.done
}

var (
	errNoAdmin    = errors.New("your login has not the role admin")
	errActionsOff = errors.New("this node's page only shows: start it with --page-actions to change something here")
	errForeign    = errors.New("this request was not made by this page")
)

// mayAct returns why a request may not change anything; nil if it may. It alone decides.
func (p *Page) mayAct(r *http.Request) error {
	if !p.opts.Actions {
		return errActionsOff
	}
	if who := api.LoginOf(r.Context()); who != nil && !who.Has(access.Admin) {
		return errNoAdmin
	}
	return nil
}

// fromHere returns errForeign unless a browser says that a page of this node made the
// request. The caller's checks let pass what no browser sends; this one does not.
func fromHere(r *http.Request) error {
	switch site := r.Header.Get("Sec-Fetch-Site"); {
	case site == "same-origin":
		return nil
	case site != "":
		return errForeign
	}
	origin, err := url.Parse(r.Header.Get("Origin")) // a browser without Sec-Fetch-Site
	if err != nil || origin.Host == "" || !strings.EqualFold(origin.Host, r.Host) {
		return errForeign
	}
	return nil
}

// actionView is an action that is offered.
type actionView struct {
	Name, Label, Link string
	Danger            bool
}

// actionsFor returns what may be done with an instance.
func (p *Page) actionsFor(r *http.Request, key registry.Key, i *eureka.InstanceInfo) []actionView {
	if p.mayAct(r) != nil {
		return nil
	}
	overridden, out := i.OverriddenStatus != eureka.StatusUnknown, i.Status == eureka.StatusOutOfService
	var offered []actionView
	for _, a := range actions() {
		switch {
		case a.node, a.name == "up" && !overridden, (a.name == "out-of-service" || a.name == "drain") && out:
		default:
			offered = append(offered, offer(a, key))
		}
	}
	return offered
}

// nodeActions returns what may be done with the node.
func (p *Page) nodeActions(r *http.Request) []actionView {
	if p.mayAct(r) != nil {
		return nil
	}
	var out []actionView
	for _, a := range actions() {
		if a.node {
			out = append(out, offer(a, registry.Key{}))
		}
	}
	return out
}

func offer(a action, key registry.Key) actionView {
	values := url.Values{"action": {a.name}}
	if !a.node {
		values.Set("app", key.App)
		values.Set("id", key.ID)
	}
	return actionView{Name: a.name, Label: a.label, Link: "confirm?" + values.Encode(), Danger: a.danger}
}

// confirmView asks before an action, or says why it was not taken.
type confirmView struct {
	frame
	App, ID                 string
	Action, Label           string
	Question, Effect, Fault string
	Danger, OfNode          bool
	Back                    string
}

// confirm asks before an action.
func (p *Page) confirm(r *http.Request) (confirmView, int) {
	values := r.URL.Query()
	return p.asked(r, values.Get("action"), registry.NewKey(values.Get("app"), values.Get("id")))
}

func (p *Page) asked(r *http.Request, name string, key registry.Key) (confirmView, int) {
	v := confirmView{frame: p.frame("../", "Confirm"), App: key.App, ID: key.ID, Back: "differences"}
	a, ok := findAction(name)
	if !a.node {
		v.Back = strings.TrimPrefix(instanceLink(key), "page/")
	}
	v.Action, v.Label, v.Question, v.Effect = a.name, a.label, a.question, a.effect
	v.Danger, v.OfNode = a.danger, a.node
	if !ok {
		v.Fault = "There is no such action."
		return v, http.StatusNotFound
	}
	if err := p.mayAct(r); err != nil {
		v.Fault = sentence(err)
		return v, http.StatusForbidden
	}
	return v, http.StatusOK
}

// act takes an action that was confirmed, and leads back to where it was asked for.
func (p *Page) act(w http.ResponseWriter, r *http.Request) {
	const maxForm = 16 << 10
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		answer(w, http.StatusBadRequest, "text/plain; charset=utf-8", []byte("form: not read"))
		return
	}
	key := registry.NewKey(r.PostForm.Get("app"), r.PostForm.Get("id"))
	v, code := p.asked(r, r.PostForm.Get("action"), key)
	if code == http.StatusOK {
		code = p.take(r, key, &v)
	}
	if code != http.StatusOK {
		p.render(w, code, "confirm", v)
		return
	}
	values := url.Values{"done": {v.Action}}
	back := "differences?" + values.Encode()
	if !v.OfNode {
		values.Set("app", key.App)
		values.Set("id", key.ID)
		back = "instance?" + values.Encode()
	}
	w.Header().Set("Location", back)
	w.WriteHeader(http.StatusSeeOther)
}

// take takes an action, and returns a status code with the fault in v.
func (p *Page) take(r *http.Request, key registry.Key, v *confirmView) int {
	a, _ := findAction(v.Action)
	ready := p.opts.Node.Readiness()
	if err := fromHere(r); err != nil {
		v.Fault = sentence(err)
		return http.StatusForbidden
	}
	if ready.Stale {
		v.Fault = "This node was suspended and catches up first. Try again in some seconds."
		return http.StatusServiceUnavailable
	}
	by := registry.Origin{From: r.RemoteAddr}
	if who := api.LoginOf(r.Context()); who != nil {
		by.Login = who.Name
	}
	outcome := a.do(p, key, by)
	p.log.Info("action of the page", "action", a.name, "app", key.App, "instance", key.ID,
		"remote", r.RemoteAddr, "found", outcome == registry.OK)
	switch outcome {
	case registry.OK, registry.Kept:
		return http.StatusOK
	case registry.NotFound:
		v.Fault = "This node does not list the instance any more."
		return http.StatusNotFound
	default:
		v.Fault = "It was refused."
		return http.StatusConflict
	}
}

// sentence makes a sentence of an error.
func sentence(err error) string {
	text := cmp.Or(err.Error(), "it failed")
	return strings.ToUpper(text[:1]) + text[1:] + "."
}
