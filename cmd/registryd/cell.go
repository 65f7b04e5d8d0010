package main

import (
	"unicode/utf8"

	"github.com/registryd/registryd/internal/plain"
)

// maxCell is how wide a column of a table may become, in characters. A client may choose a name of
// 1,024 bytes, and one such would push the others out of sight. JSON has the whole of it.
const maxCell = 100

// cell returns text for a column of a table that others follow: fit for a terminal, and cut in the
// middle if it is long, because names often differ at their ends.
func cell(text string) string {
	text = plain.Text(text)
	if utf8.RuneCountInString(text) <= maxCell {
		return text
	}
	const tail = maxCell / 3
	all := []rune(text)
	return string(all[:maxCell-1-tail]) + "…" + string(all[len(all)-tail:])
}
