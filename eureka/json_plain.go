package eureka

import (
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// plainJSON is a tokenizer of plain JSON, as programs write it: no blanks between the
// tokens, no number but integers. It takes no other text than the tokenizer of all JSON
// would, and makes the same tokens of it, but knows nothing of what is wrong: after a
// false its reader begins again with the other one.
type plainJSON struct {
	in    []byte
	at    int
	depth int
	lists uint64 // a bit for each open bracket, 1 is a list's; the innermost is the lowest
	rare  bool   // the last text has an escape, or bytes beyond ASCII
}

// simple tells the bytes that stand for themselves in a text.
var simple = func() (is [256]bool) {
	for c := byte(' '); c < utf8.RuneSelf; c++ {
		is[c] = c != '"' && c != '\\'
	}
	return is
}()

// next returns the byte that comes next, 0 at the end.
func (p *plainJSON) next() byte {
	if p.at < len(p.in) {
		return p.in[p.at]
	}
	return 0
}

// kind tells what comes next. A comma or colon never does.
func (p *plainJSON) kind() jsontext.Kind {
	switch c := p.next(); c {
	case '"', '{', '}', '[', ']', 't', 'f', 'n':
		return jsontext.Kind(c)
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		return jsontext.KindNumber
	default:
		return jsontext.KindInvalid
	}
}

// token reads a bracket or a value that is none.
func (p *plainJSON) token() bool {
	c := p.next()
	switch c {
	case '{', '[':
		p.at++
		p.depth++
		p.lists <<= 1
		if c == '[' {
			p.lists |= 1
		}
		return p.depth <= MaxDepth
	case '}', ']':
		if p.depth == 0 || p.lists&1 == 1 != (c == ']') {
			return false
		}
		p.at++
		p.depth--
		p.lists >>= 1
		return p.separator()
	default:
		_, ok := p.value()
		return ok
	}
}

// value reads a value that is no object or list, as it is written.
func (p *plainJSON) value() ([]byte, bool) {
	from, ok := p.at, false
	switch p.next() {
	case '"':
		ok = p.text()
	case 't':
		ok = p.word("true")
	case 'f':
		ok = p.word("false")
	case 'n':
		ok = p.word("null")
	default:
		ok = p.integer()
	}
	v := p.in[from:p.at]
	return v, ok && p.separator()
}

// name reads the name of a member, and its colon.
func (p *plainJSON) name() ([]byte, bool) {
	from := p.at
	if p.next() != '"' || !p.text() || p.next() != ':' {
		return nil, false
	}
	v := p.in[from:p.at]
	p.at++
	return v, !p.closes()
}

// separator reads what stands behind a value: a comma if another one follows.
func (p *plainJSON) separator() bool {
	switch {
	case p.depth == 0:
		return p.at == len(p.in)
	case p.next() == ',':
		p.at++
		return !p.closes()
	default:
		return p.closes()
	}
}

// closes reports whether a closing bracket comes next.
func (p *plainJSON) closes() bool {
	c := p.next()
	return c == '}' || c == ']'
}

func (p *plainJSON) text() bool {
	p.rare = false
	for i := p.at + 1; i < len(p.in); i++ {
		c := p.in[i]
		switch {
		case simple[c]:
		case c == '"':
			v := p.in[p.at : i+1]
			p.at = i + 1
			if !p.rare {
				return true
			}
			_, err := jsontext.AppendUnquote(nil, v)
			return err == nil
		case c == '\\':
			i++
			p.rare = true
		case c < ' ':
			return false
		default:
			p.rare = true
		}
	}
	return false
}

func (p *plainJSON) word(w string) bool {
	if rest := p.in[p.at:]; len(rest) < len(w) || string(rest[:len(w)]) != w {
		return false
	}
	p.at += len(w)
	return true
}

func (p *plainJSON) integer() bool {
	if p.next() == '-' {
		p.at++
	}
	first := p.at
	for c := p.next(); '0' <= c && c <= '9'; c = p.next() {
		p.at++
	}
	digits := p.at - first
	return digits == 1 || digits > 1 && p.in[first] != '0'
}
