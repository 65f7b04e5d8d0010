package main

import "strings"

// didYouMean is the end of an error about a name, "" without suggestions.
func didYouMean(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return ", did you mean " + strings.Join(names, " or ") + "?"
}
