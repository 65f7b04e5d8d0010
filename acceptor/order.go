package acceptor

// maxFree bounds the nodes that a processing order keeps for reuse: four full
// batches in flight of Eureka's size, with as much again for what they free.
const maxFree = 2048

// node is a slot in the processing order.
type node[K comparable, S any] struct {
	entry[K, S]
	prev, next *node[K, S]
}

// processingOrder is stage 2: one slot per key, in the order of their first
// actions (entry.seq strictly ascends from head to tail). Only the goroutine of
// Acceptor.Run touches it.
type processingOrder[K comparable, S any] struct {
	slots      map[K]*node[K, S]
	head, tail *node[K, S]

	free    *node[K, S] // chained by next
	freeLen int
}

// insert puts a slot in front of at; nil: at the end. Its key must have none.
func (o *processingOrder[K, S]) insert(e entry[K, S], at *node[K, S]) {
	n := o.free
	if n != nil {
		o.free = n.next
		o.freeLen--
	} else {
		n = new(node[K, S])
	}
	n.entry, n.next = e, at
	if at == nil {
		n.prev, o.tail = o.tail, n
	} else {
		n.prev, at.prev = at.prev, n
	}
	if n.prev == nil {
		o.head = n
	} else {
		n.prev.next = n
	}
	o.slots[e.key] = n
}

// remove takes a slot out and returns what it held.
func (o *processingOrder[K, S]) remove(n *node[K, S]) entry[K, S] {
	if n.prev == nil {
		o.head = n.next
	} else {
		n.prev.next = n.next
	}
	if n.next == nil {
		o.tail = n.prev
	} else {
		n.next.prev = n.prev
	}
	e := n.entry
	delete(o.slots, e.key)

	*n = node[K, S]{}
	if o.freeLen < maxFree {
		n.next, o.free = o.free, n
		o.freeLen++
	}
	return e
}

// len returns the number of slots.
func (o *processingOrder[K, S]) len() int { return len(o.slots) }
