package access

import "fmt"

// Role is what a login may do. Each may what the lesser ones may.
type Role uint8

// The roles. The zero value is none: an operation without a role is open to nobody.
const (
	NoRole Role = iota
	Open        // who has no login
	Read
	Client
	Admin
	roles // how many there are
)

var roleNames = [roles]string{NoRole: "none", Open: "open", Read: "read", Client: "client", Admin: "admin"}

// String returns the role as files have it.
func (r Role) String() string {
	if r >= roles {
		return fmt.Sprintf("Role(%d)", uint8(r))
	}
	return roleNames[r]
}

// ParseRole reads a role of a login.
func ParseRole(text string) (Role, error) {
	for _, r := range []Role{Read, Client, Admin} {
		if text == r.String() {
			return r, nil
		}
	}
	return NoRole, fmt.Errorf("role %.40q: not read, client or admin", text)
}

// Login is one that may ask. It does not change.
type Login struct {
	Name string
	Role Role
	Apps []string // the applications that are its own, in upper case

	line    int
	secrets []secret
	apps    map[string]struct{}
}

// Has reports whether the login has a role, or a greater one.
func (l *Login) Has(role Role) bool { return l.Role >= role }

// Owns reports whether a name is one of the login's own: of an application, or of a
// vipAddress. It is in upper case.
func (l *Login) Owns(name string) bool {
	_, own := l.apps[name]
	return own
}

// MayOverride reports whether the login may override statuses of an application, whose
// name is in upper case.
func (l *Login) MayOverride(app string) bool {
	return l.Role == Admin || l.Role == Client && l.Owns(app)
}

// MayChange reports whether the login may register, renew, cancel and change instances of
// an application, whose name is in upper case. ownOnly: of its own applications alone.
func (l *Login) MayChange(app string, ownOnly bool) bool {
	return l.Role == Admin || l.Role == Client && (!ownOnly || l.Owns(app))
}
