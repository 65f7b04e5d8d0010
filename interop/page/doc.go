// Package page looks at the page of a node with a real Chromium: what it shows, that it
// is live, and that it asks for nothing elsewhere. The pictures are in screenshots/.
package page
