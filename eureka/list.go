package eureka

// ListWriter puts a document together from instances that may be encoded
// already: a server that caches [Form.AppendInstance] writes a list by copying.
//
//	w := NewListWriter(nil, form, "1", hash)
//	w.Application("ORDERS")
//	w.Instance(encoded)
//	body := w.Close()
//
// It is used by one goroutine at a time.
type ListWriter struct {
	form Form
	dst  []byte

	single        bool   // one application is the document
	name          string // the current application
	open          bool   // its head is written
	first         bool   // no instance follows its head yet
	applications  int    // heads written
	version, hash string
}

// NewListWriter begins a list answer, which is appended to dst. In JSON the
// version and the hash code stand in front, else behind the applications.
func NewListWriter(dst []byte, f Form, version, hash string) *ListWriter {
	w := &ListWriter{form: f, dst: dst, version: version, hash: hash}
	switch {
	case f.Format == XML:
		w.dst = append(w.dst, "<applications>"...)
		if !f.Compact {
			w.tags()
		}
	case f.Compact:
		w.dst = append(w.dst, `{"applications":{"application":[`...)
	default:
		w.dst = append(w.dst, `{"applications":{`...)
		w.tags()
		w.dst = append(w.dst, `,"application":[`...)
	}
	return w
}

// NewApplicationWriter begins the answer that holds one application, which is
// appended to dst.
func NewApplicationWriter(dst []byte, f Form, name string) *ListWriter {
	w := &ListWriter{form: f, dst: dst, single: true, name: name}
	if f.Format == JSON {
		w.dst = append(w.dst, `{"application":`...)
	}
	w.head()
	return w
}

// Application says which application the next instances belong to. It is
// listed with its first instance. In a document of one application it does
// nothing.
func (w *ListWriter) Application(name string) {
	if w.single {
		return
	}
	w.tail()
	w.name = name
}

// Instance adds an instance that [Form.AppendInstance] of the same form made.
func (w *ListWriter) Instance(encoded []byte) {
	w.next()
	w.dst = append(w.dst, encoded...)
}

// add encodes the next instance in place.
func (w *ListWriter) add(i *InstanceInfo) {
	w.next()
	w.dst = w.form.AppendInstance(w.dst, i)
}

// Len returns the bytes written so far, those of dst included.
func (w *ListWriter) Len() int { return len(w.dst) }

// Close ends the document and returns dst with it. The writer can't be used
// after it.
func (w *ListWriter) Close() []byte {
	w.tail()
	switch {
	case w.single && w.form.Format == XML:
	case w.single:
		w.dst = append(w.dst, '}')
	case w.form.Format == XML:
		if w.form.Compact {
			w.tags()
		}
		w.dst = append(w.dst, "</applications>"...)
	case w.form.Compact:
		w.dst = append(w.dst, "],"...)
		w.tags()
		w.dst = append(w.dst, "}}"...)
	default:
		w.dst = append(w.dst, "]}}"...)
	}
	return w.dst
}

// next writes what stands before an instance.
func (w *ListWriter) next() {
	if !w.open {
		w.head()
	}
	if !w.first && w.form.Format == JSON {
		w.dst = append(w.dst, ',')
	}
	w.first = false
}

// head opens the current application.
func (w *ListWriter) head() {
	w.open, w.first = true, true
	if w.form.Format == XML {
		w.dst = appendXMLElement(append(w.dst, "<application>"...), "name", w.name)
		return
	}
	if w.applications > 0 {
		w.dst = append(w.dst, ',')
	}
	w.applications++
	w.dst = append(w.dst, `{"name":`...)
	w.dst = appendJSONString(w.dst, w.name)
	w.dst = append(w.dst, `,"instance":[`...)
}

// tail closes the current application, if its head was written.
func (w *ListWriter) tail() {
	if !w.open {
		return
	}
	w.open = false
	if w.form.Format == XML {
		w.dst = append(w.dst, "</application>"...)
		return
	}
	w.dst = append(w.dst, "]}"...)
}

// tags writes the version and the hash code.
func (w *ListWriter) tags() {
	if w.form.Format == XML {
		w.dst = appendXMLElement(w.dst, "versions__delta", w.version)
		w.dst = appendXMLElement(w.dst, "apps__hashcode", w.hash)
		return
	}
	w.dst = append(w.dst, `"versions__delta":`...)
	w.dst = appendJSONString(w.dst, w.version)
	w.dst = append(w.dst, `,"apps__hashcode":`...)
	w.dst = appendJSONString(w.dst, w.hash)
}
