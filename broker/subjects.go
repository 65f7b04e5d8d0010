package broker

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

const (
	// MaxName is the greatest length of a node's or a cluster's name, in bytes.
	MaxName = 64

	// MaxAppToken is the greatest length of an application's subject token, in bytes.
	MaxAppToken = 200

	// reservedNode is no node's name, because its presence subject asks all the others.
	reservedNode = "ask"

	subjectRoot = "registry"
	emptyApp    = "="
	hashMark    = "=="
	hashLen     = 32
)

// ValidName tells whether name can name a cluster: 1 to MaxName bytes of [A-Za-z0-9_-].
func ValidName(name string) bool {
	if name == "" || len(name) > MaxName {
		return false
	}
	for i := range len(name) {
		if !plainByte(name[i]) {
			return false
		}
	}
	return true
}

// ValidNode tells whether name can name a node: a ValidName other than "ask", which is reserved.
func ValidNode(name string) bool { return ValidName(name) && name != reservedNode }

// plainByte tells whether c stands for itself in a token.
func plainByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-'
}

// Subjects builds and takes apart the subjects of one cluster. It is a value; the zero value is of no use.
//
// The builders take names that are valid already (ValidNode); the parsers take anything.
type Subjects struct {
	cluster string
	root    string // "registry.<cluster>."
}

// NewSubjects returns the subjects of a cluster, or an error that wraps ErrName.
func NewSubjects(cluster string) (Subjects, error) {
	if !ValidName(cluster) {
		return Subjects{}, fmt.Errorf("cluster %q: %w", cluster, ErrName)
	}
	return Subjects{cluster: cluster, root: subjectRoot + "." + cluster + "."}, nil
}

// Cluster returns the cluster's name.
func (s Subjects) Cluster() string { return s.cluster }

// Batch is where to takes batches from from.
func (s Subjects) Batch(to, from string) string { return s.root + "peer." + to + ".batch." + from }

// Sync is where to takes sync requests from from.
func (s Subjects) Sync(to, from string) string { return s.root + "peer." + to + ".sync." + from }

// Presence is where node announces itself.
func (s Subjects) Presence(node string) string { return s.root + "presence." + node }

// PresenceAsk is where a node asks all the others to announce themselves at once.
func (s Subjects) PresenceAsk() string { return s.Presence(reservedNode) }

// ReplyPrefix is the prefix of node's inboxes, without a final dot.
func (s Subjects) ReplyPrefix(node string) string { return s.root + "reply." + node }

// Event is where changes of an application are told, once each. See AppToken.
func (s Subjects) Event(app string) string { return s.root + "event." + AppToken(app) }

// Log is the durable form of the batches to to.
func (s Subjects) Log(to string) string { return s.root + "log." + to }

// AllBatches matches every batch of the cluster.
func (s Subjects) AllBatches() string { return s.Batch("*", "*") }

// AllSyncs matches every sync request of the cluster.
func (s Subjects) AllSyncs() string { return s.Sync("*", "*") }

// AllReplies matches every reply of the cluster.
func (s Subjects) AllReplies() string { return s.root + "reply.>" }

// AllPresence matches every node's presence, and PresenceAsk too.
func (s Subjects) AllPresence() string { return s.Presence("*") }

// AllEvents matches the events of every application.
func (s Subjects) AllEvents() string { return s.root + "event.*" }

// ParseBatch takes a batch subject of this cluster apart. ok is false for any other subject, and for a wildcard.
func (s Subjects) ParseBatch(subject string) (to, from string, ok bool) {
	return s.parsePeer(subject, "batch")
}

// ParseSync takes a sync subject of this cluster apart.
func (s Subjects) ParseSync(subject string) (to, from string, ok bool) {
	return s.parsePeer(subject, "sync")
}

func (s Subjects) parsePeer(subject, kind string) (to, from string, ok bool) {
	rest, ok := strings.CutPrefix(subject, s.root+"peer.")
	if !ok {
		return "", "", false
	}
	to, rest, ok = strings.Cut(rest, ".")
	if !ok || !ValidNode(to) {
		return "", "", false
	}
	from, ok = strings.CutPrefix(rest, kind+".")
	if !ok || !ValidNode(from) {
		return "", "", false
	}
	return to, from, true
}

// ParsePresence returns the node that a presence subject belongs to. PresenceAsk belongs to none.
func (s Subjects) ParsePresence(subject string) (node string, ok bool) {
	node, ok = strings.CutPrefix(subject, s.root+"presence.")
	if !ok || !ValidNode(node) {
		return "", false
	}
	return node, true
}

// ParseReply returns the node that a reply subject belongs to: the one that asked.
func (s Subjects) ParseReply(subject string) (node string, ok bool) {
	rest, ok := strings.CutPrefix(subject, s.root+"reply.")
	if !ok {
		return "", false
	}
	node, token, ok := strings.Cut(rest, ".")
	if !ok || token == "" || !ValidNode(node) {
		return "", false
	}
	return node, true
}

// ParseEvent returns the application of an event subject. See ParseAppToken.
func (s Subjects) ParseEvent(subject string) (app string, ok bool) {
	token, ok := strings.CutPrefix(subject, s.root+"event.")
	if !ok {
		return "", false
	}
	return ParseAppToken(token)
}

// AppToken turns an application's name into one subject token: bytes outside [A-Za-z0-9_-] become =XX in upper-case
// hexadecimal, and the empty name becomes "=".
//
// A name whose token would be longer than MaxAppToken is cut between two bytes, and "==" with the first 16 bytes of its
// SHA-256 in hexadecimal follow, so that two long names keep two tokens. "==" occurs in no other token.
func AppToken(app string) string {
	if app == "" {
		return emptyApp
	}
	size := 0
	for i := range len(app) {
		size += tokenSize(app[i])
		if size > MaxAppToken {
			return cutAppToken(app)
		}
	}
	if size == len(app) {
		return app
	}
	var out strings.Builder
	out.Grow(size)
	for i := range len(app) {
		writeTokenByte(&out, app[i])
	}
	return out.String()
}

func cutAppToken(app string) string {
	var out strings.Builder
	out.Grow(MaxAppToken)
	for i := range len(app) {
		if out.Len()+tokenSize(app[i]) > MaxAppToken-len(hashMark)-hashLen {
			break
		}
		writeTokenByte(&out, app[i])
	}
	sum := sha256.Sum256([]byte(app))
	out.WriteString(hashMark)
	out.WriteString(hex.EncodeToString(sum[:hashLen/2]))
	return out.String()
}

func tokenSize(c byte) int {
	if plainByte(c) {
		return 1
	}
	return 3
}

func writeTokenByte(out *strings.Builder, c byte) {
	if plainByte(c) {
		out.WriteByte(c)
		return
	}
	const digits = "0123456789ABCDEF"
	out.WriteByte('=')
	out.WriteByte(digits[c>>4])
	out.WriteByte(digits[c&15])
}

// ParseAppToken is the inverse of AppToken. ok is false for a token that AppToken doesn't make, and for one that it cut:
// the name is gone there, and what was published under it has to carry it.
func ParseAppToken(token string) (app string, ok bool) {
	if token == emptyApp {
		return "", true
	}
	if token == "" || len(token) > MaxAppToken {
		return "", false
	}
	var out strings.Builder
	for i := 0; i < len(token); i++ {
		c := token[i]
		if plainByte(c) {
			out.WriteByte(c)
			continue
		}
		if c != '=' || i+2 >= len(token) {
			return "", false
		}
		high, okHigh := upperHex(token[i+1])
		low, okLow := upperHex(token[i+2])
		b := high<<4 | low
		if !okHigh || !okLow || plainByte(b) {
			return "", false
		}
		out.WriteByte(b)
		i += 2
	}
	return out.String(), true
}

func upperHex(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}
