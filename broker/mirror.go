package broker

import (
	"crypto/rand"
	"strconv"

	"github.com/nats-io/nats.go"
)

// mirrored is the first token of the reply subjects of batches that [Broker.Mirror] shows. Nobody waits for those
// replies, and no other reply subject has a second token.
const mirrored = "mirror."

// Mirror shows a Watcher a batch that travels otherwise than over NATS. It publishes the batch on the subject of to,
// where no node listens. The function that it returns shows the answer: code 200 with a body, or the code and the text
// of a failure, once. Showing is best effort: nothing is shown without a connection, or of a batch over MaxPayload.
// Like Publish it may hold its caller for the write time-out.
func (b *Broker) Mirror(to, batch string, body []byte) (answer func(code int, text string, body []byte)) {
	reply := b.inbox.prefix + mirrored + rand.Text()
	if !b.show(&nats.Msg{
		Subject: b.subjects.Batch(to, b.node), Reply: reply, Header: Header{Batch: batch}.wire(), Data: body,
	}) {
		return func(int, string, []byte) {}
	}
	return func(code int, text string, body []byte) {
		header := Header{Batch: batch}.wire()
		if text != "" {
			header.Set(HeaderError, cut(text, maxErrorText))
			header.Set(HeaderErrorCode, strconv.Itoa(code))
			body = nil
		}
		b.show(&nats.Msg{Subject: reply, Header: header, Data: body})
	}
}

func (b *Broker) show(msg *nats.Msg) bool {
	if err := b.link.send(msg); err != nil {
		b.metrics.published.WithLabelValues("unsent").Inc()
		return false
	}
	b.metrics.published.WithLabelValues("sent").Inc()
	return true
}
