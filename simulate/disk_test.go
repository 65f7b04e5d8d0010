package simulate

import (
	"bytes"
	"time"

	"github.com/registryd/registryd/registry"
	"github.com/registryd/registryd/snapshot"
)

// disk is a node's snapshot: its file, and what it holds.
type disk struct {
	written time.Time
	file    []byte
	entries map[registry.Key]registry.Entry
}

// clusterName is the name of the cluster that the nodes are of.
const clusterName = "simulated"

func (p *proc) snapshot() *disk {
	d := &disk{written: time.Now(), entries: make(map[registry.Key]registry.Entry)}
	var file bytes.Buffer
	if _, err := snapshot.Encode(&file, clusterName, p.reg); err != nil {
		p.world.violate("%s: snapshot: %v", p.name, err)
	}
	d.file = file.Bytes()
	for v := range p.reg.AllVersions() {
		d.entries[v.Key], _, _ = p.reg.Entry(v.Key)
	}
	return d
}

func (d *disk) load(p *proc) {
	if d == nil {
		return
	}
	p.world.mu.Lock()
	for _, c := range p.world.clients {
		if c != nil && !d.live(c.key) {
			c.restored = time.Now()
		}
	}
	p.world.mu.Unlock()
	loaded, err := snapshot.Decode(bytes.NewReader(d.file), clusterName, p.reg)
	if err != nil || loaded.Skipped > 0 {
		p.world.violate("%s: snapshot of %d entries: %+v, %v", p.name, len(d.entries), loaded, err)
	}
}

// live reports whether an instance lives, or is not known to be dead.
func (d *disk) live(key registry.Key) bool {
	entry, ok := d.entries[key]
	return !ok || entry.Record.Live
}

// entry returns what a node that loads the snapshot now has of an instance.
func (d *disk) entry(key registry.Key) (registry.Entry, bool) {
	if d == nil {
		return registry.Entry{}, false
	}
	entry, ok := d.entries[key]
	entry.Age += time.Since(d.written)
	return entry, ok
}
