package main

import (
	"maps"
	"slices"
	"strings"

	"github.com/registryd/registryd/node"
)

// shown returns the values of flags for people to read: without passwords, by name.
func shown(values map[string]string) []node.Setting {
	out := make([]node.Setting, 0, len(values))
	for _, name := range slices.Sorted(maps.Keys(values)) {
		value := withoutUsers(values[name])
		isFile := strings.HasSuffix(name, "-file") || strings.HasSuffix(name, "-files")
		for _, secret := range []string{"password", "secret", "token"} {
			if strings.Contains(name, secret) && !isFile && value != "" {
				value = "xxxxx"
			}
		}
		out = append(out, node.Setting{Name: name, Value: value})
	}
	return out
}
