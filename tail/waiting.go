package tail

import (
	"container/list"
	"time"

	"github.com/registryd/registryd/eureka"
)

// taskCost is the cost of a waiting task beside its texts, in bytes: its struct, and
// the allocator's overhead.
const taskCost = 96

// batchCost is the cost of a waiting batch beside its tasks, in bytes.
const batchCost = 512

// task is the part of an item that is kept until its result is known.
type task struct {
	action string
	app    string
	id     string
	wait   int64 // ms from the first action to the cut, -1: not given
}

// tasksOf keeps the parts of the items that lines show.
func tasksOf(items eureka.ReplicationList) []task {
	tasks := make([]task, len(items))
	for i := range items {
		it := &items[i]
		tasks[i] = task{action: string(it.Action), app: it.AppName, id: it.ID, wait: -1}
		if it.State != nil {
			tasks[i].wait = max(it.State.Wait, 0)
		}
	}
	return tasks
}

// batch is a request that waits for its reply.
type batch struct {
	id       string
	from     string
	to       string
	reply    string
	seen     time.Time // when the request was seen, printed
	deadline time.Time
	bytes    int // length of the request's body
	tasks    []task
	cost     int // in waiting, in bytes
}

// countCost sets the cost of the batch in [waiting].
func (b *batch) countCost() {
	b.cost = batchCost + len(b.id) + len(b.from) + len(b.to) + len(b.reply)
	for _, t := range b.tasks {
		b.cost += taskCost + len(t.action) + len(t.app) + len(t.id)
	}
}

// waiting holds the batches whose reply has not been seen, in the order in
// which they were seen. All wait equally long, so the first is the next to time
// out. It is owned by the goroutine of [Tailer.Run].
type waiting struct {
	byReply map[string]*list.Element
	order   *list.List // of *batch
	bytes   int        // sum of cost
}

func newWaiting() *waiting {
	return &waiting{byReply: make(map[string]*list.Element), order: list.New()}
}

func (w *waiting) len() int { return w.order.Len() }

func (w *waiting) has(reply string) bool {
	_, ok := w.byReply[reply]
	return ok
}

func (w *waiting) add(b *batch) {
	w.byReply[b.reply] = w.order.PushBack(b)
	w.bytes += b.cost
}

// get returns the batch that waits for a reply on that subject, nil if none does.
func (w *waiting) get(reply string) *batch {
	if e, ok := w.byReply[reply]; ok {
		return e.Value.(*batch)
	}
	return nil
}

// oldest returns the batch that has waited longest, nil if none waits.
func (w *waiting) oldest() *batch {
	if e := w.order.Front(); e != nil {
		return e.Value.(*batch)
	}
	return nil
}

func (w *waiting) remove(b *batch) {
	e, ok := w.byReply[b.reply]
	if !ok {
		return
	}
	delete(w.byReply, b.reply)
	w.order.Remove(e)
	w.bytes -= b.cost
}
