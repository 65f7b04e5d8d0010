// Package history keeps what happened to instances, for as long as a bounded number of
// bytes lasts. Everybody who wants to know of changes reads it: the page, /v1/history,
// watchers, the event subject and the log.
//
//	registry ──Record, in order──▶ History ◀──Record── cluster (what peers answered)
//	                                  │ Query: newest first, of an instance, an application or all
//	                                  ▼ After, Wait: from a sequence number on
//	                               readers
//
// A History is a ring of chunks. An event has a sequence number from 1 on, and is encoded
// into some 80 bytes when it comes, outside any lock of the registry. Events of one hash of
// (application, id), and of one hash of the application, are chained backwards, so those of
// one instance are found without a look at the others, and without an index that grows.
//
// Readers have neither a goroutine nor a buffer here. They remember a sequence number, and
// are told when the events after it are no longer there. All methods may be called from any
// goroutine. No lock is held while a reader decodes.
package history
