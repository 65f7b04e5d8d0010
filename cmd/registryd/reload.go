package main

import (
	"io"
	"maps"
	"slices"
	"strings"
)

// reloads reports whether a running node takes a changed flag over on SIGHUP.
func reloads(name string) bool { return name == "log-level" }

// reload reads the settings anew, on SIGHUP, and takes what can change while the
// node runs: the level of the log. The files of the NATS access need no signal:
// each new connection reads them. What is wrong changes nothing.
func (s *settings) reload(args []string) {
	log := s.Logger.With("node", s.Name, "component", "node")
	now, err := readSettings(args, io.Discard)
	if err != nil {
		log.Error("reload refused, settings unchanged", "err", usageText(err))
		return
	}
	s.level.Set(now.level.Level())
	s.values["log-level"] = now.values["log-level"]
	log.Info("settings reloaded", "log_level", now.level.Level().String())
	var restart []string
	for _, name := range slices.Sorted(maps.Keys(now.values)) {
		if now.values[name] != s.values[name] {
			restart = append(restart, "--"+name)
		}
	}
	if len(restart) > 0 {
		log.Warn("settings changed that need a restart", "flags", strings.Join(restart, " "))
	}
}
