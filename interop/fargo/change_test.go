package interop_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/hudl/fargo"
)

// updateStatus takes one client out of service, and back.
func (m *mixed) updateStatus(ctx context.Context, t *testing.T) {
	out := &fargo.Instance{}
	set := func(status fargo.StatusType) {
		m.inJSON.call(t, "UpdateInstanceStatus", func(conn *fargo.EurekaConnection, instance *fargo.Instance) error {
			*out = *instance
			return conn.UpdateInstanceStatus(instance, status)
		})
	}
	seen := func(status fargo.StatusType) {
		t.Helper()
		for _, c := range m.fargos() {
			for _, n := range m.nodes() {
				until(ctx, t, fmt.Sprintf("%s reads %s of %s at %s", c.name, status, out.Id(), n.name), func() error {
					all, err := c.read(n)
					if err != nil {
						return err
					}
					if got := all[out.Id()]; got == nil || got.Status != status || got.Overriddenstatus != status {
						return fmt.Errorf("%+v", got)
					}
					up, err := c.at(n.registry()).GetInstancesByVIPAddress(vip, false, fargo.ThatAreUp)
					if err == nil && slices.Contains(ids(up), out.Id()) != (status == fargo.UP) {
						err = fmt.Errorf("up under %s: %v", vip, ids(up))
					}
					return err
				})
			}
		}
		// Of full lists eureka-js-client keeps only what is UP; by a delta it also
		// learns of another status.
		until(ctx, t, fmt.Sprintf("%s keeps %s while it is UP: now %s", m.js.id, out.Id(), status), func() error {
			v, err := m.js.look(ctx)
			if kept := slices.Contains(v.ids(), out.Id()); err == nil && kept != (status == fargo.UP) {
				err = fmt.Errorf("%v", v.ids())
			}
			return err
		})
		until(ctx, t, fmt.Sprintf("%s has %s of %s", m.mortalJS.id, status, out.Id()), func() error {
			v, err := m.mortalJS.look(ctx)
			if got := v.instance(out.Id()).Status; err == nil && got != string(status) {
				err = fmt.Errorf("status %q", got)
			}
			return err
		})
	}
	set(fargo.OUTOFSERVICE)
	seen(fargo.OUTOFSERVICE)
	m.beats(ctx, t, 2)
	seen(fargo.OUTOFSERVICE)
	set(fargo.UP)
	seen(fargo.UP)
}

// hasMetadata waits until all clients read an instance's metadata as they must
// be now, at the nodes.
func (m *mixed) hasMetadata(ctx context.Context, t *testing.T, id string, nodes ...*node) {
	t.Helper()
	want := m.metadata[id]
	for _, n := range nodes {
		for _, c := range m.fargos() {
			until(ctx, t, fmt.Sprintf("%s reads metadata %v of %s at %s", c.name, want, id, n.name), func() error {
				all, err := c.read(n)
				if err != nil {
					return err
				}
				if all[id] == nil {
					return errors.New("no such instance")
				}
				got := map[string]string{}
				for key, value := range all[id].Metadata.GetMap() {
					got[key] = fmt.Sprint(value)
				}
				if !maps.Equal(got, want) {
					err = fmt.Errorf("%v", got)
				}
				return err
			})
		}
	}
	until(ctx, t, fmt.Sprintf("%s has metadata %v of %s", m.js.id, want, id), func() error {
		v, err := m.js.look(ctx)
		if got := v.instance(id).Metadata; err == nil && !maps.Equal(got, want) {
			err = fmt.Errorf("%v", got)
		}
		return err
	})
}

// setMetadata sets one key of a client's metadata through any of these nodes.
func (m *mixed) setMetadata(t *testing.T, c *fargoClient, key, value string) {
	t.Helper()
	c.call(t, "AddMetadataString", func(conn *fargo.EurekaConnection, instance *fargo.Instance) error {
		return conn.AddMetadataString(instance, key, value)
	})
	m.metadata[c.instance.Id()][key] = value
}

func (m *mixed) addMetadata(ctx context.Context, t *testing.T) {
	m.setMetadata(t, m.inXML, "colour", "blue & <green>")
	m.setMetadata(t, m.inJSON, "colour", "red")
	m.hasMetadata(ctx, t, idXML, m.nodes()...)
	m.hasMetadata(ctx, t, idJSON, m.nodes()...)
}

// reregister registers changed instances over those that are there.
func (m *mixed) reregister(ctx context.Context, t *testing.T) {
	homes := map[*fargoClient]string{}
	for _, c := range m.fargos() {
		homes[c] = "http://moved.example/" + c.instance.App
		c.call(t, "ReregisterInstance", func(conn *fargo.EurekaConnection, instance *fargo.Instance) error {
			instance.HomePageUrl, instance.Port = homes[c], 9090
			return conn.ReregisterInstance(instance)
		})
	}
	for moved, home := range homes {
		for _, n := range m.nodes() {
			for _, c := range m.fargos() {
				until(ctx, t, fmt.Sprintf("%s reads the new %s at %s", c.name, moved.instance.App, n.name), func() error {
					all, err := c.read(n)
					if got := all[moved.instance.Id()]; err == nil && (got == nil || got.HomePageUrl != home || got.Port != 9090) {
						err = fmt.Errorf("%+v", got)
					}
					return err
				})
			}
		}
		m.hasMetadata(ctx, t, moved.instance.Id(), m.nodes()...)
	}
}
