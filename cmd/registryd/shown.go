package main

import (
	"maps"
	"slices"
	"strings"

	"github.com/registryd/registryd/internal/redact"
	"github.com/registryd/registryd/node"
)

// shown returns the values of flags for people to read: without passwords, by name.
func shown(values map[string]string) []node.Setting {
	out := make([]node.Setting, 0, len(values))
	for _, name := range slices.Sorted(maps.Keys(values)) {
		out = append(out, node.Setting{Name: name, Value: shownValue(name, values[name])})
	}
	return out
}

// shownValue returns the value of a flag without secrets.
func shownValue(name, value string) string {
	isFile := strings.HasSuffix(name, "-file") || strings.HasSuffix(name, "-files")
	for _, secret := range []string{"password", "secret", "token"} {
		if strings.Contains(name, secret) && !isFile && value != "" {
			return "xxxxx"
		}
	}
	if strings.Contains(value, "://") || slices.Contains(addressFlags(), name) {
		return redact.Text(value)
	}
	return value
}

// addressFlags are the flags whose values may be URLs without a scheme. In others an @ may be a part
// of a file's name.
func addressFlags() []string {
	return []string{
		"advertise", "embedded-listen", "embedded-route-listen", "embedded-routes", "eureka-peers", "http-hosts",
		"listen", "nats", "remote-regions", "url",
	}
}
