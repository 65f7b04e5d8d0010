package main

import (
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/registryd/registryd/node"
)

// reloadable are the flags that a running node takes over on SIGHUP.
func reloadable() []string {
	return []string{
		"log-level", "batch-delay", "self-preservation", "renewal-threshold", "self-preservation-min",
		"rate-limit", "rate-limit-burst", "rate-limit-fetches", "rate-limit-full-fetches", "rate-limit-privileged",
		"rate-limit-standard-clients",
	}
}

func reloads(name string) bool { return slices.Contains(reloadable(), name) }

// reload reads the settings anew, on SIGHUP, and takes what can change while the
// node runs. The files of certificates, credentials and logins need no signal. What is
// wrong changes nothing.
func (s *settings) reload(n *node.Node, args []string) {
	log := s.Logger.With("node", s.Name, "component", "node")
	now, err := readSettings(args, io.Discard)
	if err == nil {
		err = n.Reload(now.Reloadable())
	}
	if err != nil {
		log.Error("reload refused, settings unchanged", "err", usageText(err))
		return
	}
	s.level.Set(now.level.Level())
	var taken, restart []string
	for _, name := range slices.Sorted(maps.Keys(now.values)) {
		switch value := now.values[name]; {
		case value == s.values[name]:
		case reloads(name):
			taken = append(taken, "--"+name)
			s.values[name] = value
		default:
			restart = append(restart, "--"+name)
		}
	}
	log.Info("settings reloaded", "log_level", now.level.Level().String(), "changed", strings.Join(taken, " "))
	if len(restart) > 0 {
		log.Warn("settings changed that need a restart", "flags", strings.Join(restart, " "))
	}
}
