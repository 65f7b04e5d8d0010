package broker

import (
	"fmt"
	"strings"
)

const (
	// MaxName is the greatest length of a node's or a cluster's name, in bytes.
	MaxName = 64

	// reservedNode is no node's name, because its presence subject asks all the others.
	reservedNode = "ask"

	subjectRoot = "registry"
)

// ValidName reports whether name can name a cluster: 1 to MaxName bytes of [A-Za-z0-9_-].
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

// ValidNode reports whether name can name a node: a ValidName other than "ask", which is reserved.
func ValidNode(name string) bool { return ValidName(name) && name != reservedNode }

// plainByte reports whether c stands for itself in a token.
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

// maxApp is the greatest length of an application's token, in bytes.
const maxApp = 200

// Event is where the changes of an application are told. Bytes outside [A-Za-z0-9_-] are =XX in it, an empty name is =,
// and a long one ends after 200 bytes.
func (s Subjects) Event(app string) string {
	const hex = "0123456789ABCDEF"
	b := append(make([]byte, 0, len(s.root)+len("event.")+maxApp), s.root...)
	b = append(b, "event."...)
	start := len(b)
	for i := range len(app) {
		c := app[i]
		switch size := len(b) - start; {
		case plainByte(c) && size < maxApp:
			b = append(b, c)
		case !plainByte(c) && size+3 <= maxApp:
			b = append(b, '=', hex[c>>4], hex[c&15])
		default:
			return string(b)
		}
	}
	if app == "" {
		b = append(b, '=')
	}
	return string(b)
}

// Events are what an event subject's denial names: they are one.
func (s Subjects) Events() string { return s.root + "event.>" }

// AllBatches matches every batch of the cluster.
func (s Subjects) AllBatches() string { return s.Batch("*", "*") }

// AllReplies matches every reply of the cluster.
func (s Subjects) AllReplies() string { return s.root + "reply.>" }

// AllPresence matches every node's presence, and PresenceAsk too.
func (s Subjects) AllPresence() string { return s.Presence("*") }

// PresenceAnywhere matches the presence of the nodes of all clusters.
func PresenceAnywhere() string { return subjectRoot + ".*.presence.*" }

// ParsePresenceAnywhere returns the cluster and the node that a presence subject belongs to. PresenceAsk belongs to no
// node.
func ParsePresenceAnywhere(subject string) (cluster, node string, ok bool) {
	rest, ok := strings.CutPrefix(subject, subjectRoot+".")
	if !ok {
		return "", "", false
	}
	cluster, _, _ = strings.Cut(rest, ".")
	s, err := NewSubjects(cluster)
	if err != nil {
		return "", "", false
	}
	node, ok = s.ParsePresence(subject)
	return cluster, node, ok
}

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
