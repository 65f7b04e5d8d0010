package tail

import (
	"context"
	"time"
)

// Kind is the kind of a [Message].
type Kind uint8

// The two kinds of message that a [Tailer] pairs.
const (
	Request Kind = iota + 1 // a ReplicationList on its way to a peer
	Reply                   // a ReplicationListResponse, or an error, on its way back
)

// Message is one message as a [Source] saw it. Plain data: a Source that has
// delivered a Message neither changes nor reuses its Body.
type Message struct {
	Kind    Kind
	Subject string // where it was published. A reply is paired by it
	Reply   string // of a request: where the reply is awaited. "": nowhere

	From  string // of a request: the node that sent it
	To    string // of a request: the node that it is meant for
	Batch string // the Registry-Batch header, a UUIDv7

	Body []byte
	Time time.Time // when the Source saw it. Zero: when the Tailer does

	// ErrorCode and Error are the error headers of the NATS micro service.
	// A reply with an ErrorCode other than "" refuses the whole batch.
	ErrorCode string
	Error     string
}

// Source lets a [Tailer] see the batches of a cluster and their replies.
type Source interface {
	// Watch calls deliver with each request and each reply, until ctx ends
	// (nil) or it can see no more (an error, or nil when there is nothing more
	// to see). It calls deliver no more once it has returned.
	//
	// deliver may be called from any goroutine. It blocks while the output
	// blocks, but not longer than ctx. A reply may be delivered up to a second
	// before its request. Replies to other requests may be delivered too; they
	// are ignored.
	Watch(ctx context.Context, deliver func(Message)) error
}
