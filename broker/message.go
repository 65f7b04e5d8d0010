package broker

import (
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
)

// ProtocolVersion is the value of Registry-Version that this node writes, and the only one that it reads.
const ProtocolVersion = 1

// Headers of our messages. The two error headers are those of NATS micro services.
const (
	HeaderBatch     = "Registry-Batch"   // The batch's id, a UUIDv7 of the sender.
	HeaderVersion   = "Registry-Version" // ProtocolVersion. What has none isn't ours.
	HeaderProbe     = "Registry-Probe"   // Such a message is empty and has no effect: see Denied.
	HeaderError     = micro.ErrorHeader
	HeaderErrorCode = micro.ErrorCodeHeader

	// MaxHeader bounds one header's value, in bytes.
	MaxHeader = 128

	maxErrorText   = 512
	maxVersionText = 64
)

// Header is what accompanies a request.
type Header struct {
	Batch   string // Registry-Batch; empty: not sent.
	Version int    // Registry-Version; 0 is ProtocolVersion.
}

func (h Header) wire() nats.Header {
	out := make(nats.Header, 2)
	version := h.Version
	if version == 0 {
		version = ProtocolVersion
	}
	out[HeaderVersion] = []string{strconv.Itoa(version)}
	if h.Batch != "" {
		out[HeaderBatch] = []string{h.Batch}
	}
	return out
}

// Message is one message as it came. Its body belongs to the receiver.
type Message struct {
	Subject  string
	Reply    string // Empty if no answer is wanted.
	Body     []byte
	Received time.Time

	header nats.Header
}

// Get returns a header's first value, or "". Names are compared as written: see the Header constants.
func (m Message) Get(name string) string { return m.header.Get(name) }

// Ours reports whether the message carries Registry-Version, so that a node of some version wrote it. Anything else on
// our subjects is somebody else's, for instance the acknowledgement of a JetStream stream over registry.>.
func (m Message) Ours() bool { return m.Get(HeaderVersion) != "" }

// Failed returns the error that a reply carries, or nil. Anybody may have written it: check Ours.
func (m Message) Failed() *RemoteError {
	text, code := m.Get(HeaderError), m.Get(HeaderErrorCode)
	if text == "" && code == "" {
		return nil
	}
	number, err := strconv.Atoi(code)
	if err != nil {
		number = 0
	}
	return &RemoteError{Code: number, Text: cut(text, maxErrorText)}
}

func newMessage(msg *nats.Msg) Message {
	return Message{
		Subject: msg.Subject, Reply: msg.Reply, Body: msg.Data, Received: time.Now(), header: msg.Header,
	}
}
