package differential

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// tree is a body as its readers see it. The order of members does not count, nor does
// that of applications and instances, which are known by their names and ids.
type tree struct {
	leaf string           // of a value: with its type in JSON, so that 1 is not "1"
	kids map[string]*tree // nil: a value
}

const (
	arrayMark = "[]"  // a kid that says that the others are an array's elements
	xmlMark   = "XML" // a kid of a document that is none in JSON
)

func (t *tree) add(key string, kid *tree) {
	name := key
	for n := 2; t.kids[name] != nil; n++ {
		name = fmt.Sprintf("%s#%d", key, n) // a reader takes one of them, and nobody knows which
	}
	t.kids[name] = kid
}

// at returns what is at a path, or nil.
func (t *tree) at(path ...string) *tree {
	for _, key := range path {
		if t == nil {
			return nil
		}
		t = t.kids[key]
	}
	return t
}

// parse reads a body, which tells by its first byte whether it is JSON or XML. Other bodies
// are one value.
func parse(body []byte) *tree {
	text := bytes.TrimSpace(body)
	if len(text) == 0 {
		return nil
	}
	var t *tree
	var err error
	switch text[0] {
	case '{', '[':
		t, err = parseJSON(text)
	case '<':
		t, err = parseXML(text)
	default:
		err = errors.New("neither JSON nor XML")
	}
	if err != nil {
		return &tree{leaf: fmt.Sprintf("(%v): %s", err, text)}
	}
	return t
}

func parseJSON(text []byte) (*tree, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	t, err := jsonValue(d)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one value")
	}
	return t, nil
}

func jsonValue(d *json.Decoder) (*tree, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch token {
	case json.Delim('{'):
		t := &tree{kids: map[string]*tree{}}
		for d.More() {
			key, err := d.Token()
			if err != nil {
				return nil, err
			}
			kid, err := jsonValue(d)
			if err != nil {
				return nil, err
			}
			name, _ := key.(string)
			if kid.kids[arrayMark] != nil && isNamed(name) {
				t.addNamed(name, kid)
			} else {
				t.add(name, kid)
			}
		}
		_, err := d.Token()
		return t, err
	case json.Delim('['):
		t := &tree{kids: map[string]*tree{arrayMark: {leaf: "array"}}}
		for d.More() {
			kid, err := jsonValue(d)
			if err != nil {
				return nil, err
			}
			t.kids[fmt.Sprintf("[%03d]", len(t.kids)-1)] = kid
		}
		_, err := d.Token()
		return t, err
	}
	if text, ok := token.(string); ok {
		return &tree{leaf: strconv.Quote(text)}, nil
	}
	return &tree{leaf: fmt.Sprint(token)}, nil
}

// isNamed reports whether the elements of a list have names of their own.
func isNamed(list string) bool { return list == "application" || list == "instance" }

// addNamed adds a list's elements by their names, beside a kid that says that there is
// a list.
func (t *tree) addNamed(list string, elements *tree) {
	t.add(list, &tree{leaf: "array"})
	for key, kid := range elements.kids {
		if key != arrayMark {
			t.add(nameOf(list, kid), kid)
		}
	}
}

// nameOf is what a list's element is known by.
func nameOf(list string, element *tree) string {
	for _, key := range []string{"instanceId", "hostName", "name"} {
		if kid := element.at(key); kid != nil && kid.kids == nil {
			return list + "[" + strings.Trim(kid.leaf, `"`) + "]"
		}
	}
	return list + "[]"
}

func parseXML(text []byte) (*tree, error) {
	d := xml.NewDecoder(bytes.NewReader(text))
	root := &tree{kids: map[string]*tree{xmlMark: {leaf: "document"}}}
	for {
		token, err := d.RawToken()
		if errors.Is(err, io.EOF) {
			return root, nil
		}
		if err != nil {
			return nil, err
		}
		if start, ok := token.(xml.StartElement); ok {
			kid, err := xmlElement(d, start)
			if err != nil {
				return nil, err
			}
			root.add(xmlName(start.Name), kid)
		}
	}
}

func xmlElement(d *xml.Decoder, start xml.StartElement) (*tree, error) {
	t := &tree{kids: map[string]*tree{}}
	for _, a := range start.Attr {
		t.add("@"+xmlName(a.Name), &tree{leaf: a.Value})
	}
	var text strings.Builder
	for {
		token, err := d.RawToken()
		if err != nil {
			return nil, err
		}
		switch token := token.(type) {
		case xml.StartElement:
			kid, err := xmlElement(d, token)
			if err != nil {
				return nil, err
			}
			name := xmlName(token.Name)
			if isNamed(name) && kid.kids != nil {
				name = nameOf(name, kid)
			}
			t.add(name, kid)
		case xml.CharData:
			text.Write(token)
		case xml.EndElement:
			switch {
			case token.Name != start.Name:
				return nil, fmt.Errorf("<%s> ended by </%s>", xmlName(start.Name), xmlName(token.Name))
			case len(t.kids) == 0:
				return &tree{leaf: text.String()}, nil
			case strings.TrimSpace(text.String()) != "":
				t.add("text()", &tree{leaf: text.String()})
			}
			return t, nil
		}
	}
}

// xmlName is a name as it was written.
func xmlName(n xml.Name) string {
	if n.Space != "" {
		return n.Space + ":" + n.Local
	}
	return n.Local
}
