// Package page is what people see of a node in a browser: its state, the pipeline to each
// peer, the instances, and what happened.
//
//	browser ──GET /──────────▶ Page ──template──▶ the whole page, readable without script
//	        ◀─/page/live────── feed ◀── node, registry: looked at when the history tells of
//	                             │      something and a page is open, rendered once for all of them
//	        ──GET /page/list──▶ list ◀── registry's parts: what changed is sorted in anew
//
// All of it is HTML that this package renders: the script puts newer pieces in the place
// of older ones, and lets times run. Text of instances is escaped by html/template.
package page
