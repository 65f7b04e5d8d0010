package eureka

import "iter"

// AppendApplications appends a list answer. An application without instances is
// not listed, as in Eureka. Version and hash code stand in front, but behind the
// applications in the compact form.
func (f Form) AppendApplications(dst []byte, a Applications) []byte {
	dst = f.AppendListHead(dst, a.Version, a.HashCode)
	listed := 0
	for _, app := range a.Applications {
		if len(app.Instances) == 0 {
			continue
		}
		if listed++; listed > 1 {
			dst = f.appendComma(dst)
		}
		dst = f.appendApplication(dst, app)
	}
	return f.AppendListTail(dst, a.Version, a.HashCode)
}

// AppendListHead appends what stands in front of the applications of a list, and
// AppendListTail what stands behind them. Between them stand the parts of a list, made
// by [Form.AppendPart].
func (f Form) AppendListHead(dst []byte, version, hashCode string) []byte {
	if f.Format == XML {
		dst = append(dst, "<applications>"...)
		if !f.Compact {
			dst = appendXMLTags(dst, version, hashCode)
		}
		return dst
	}
	dst = append(dst, `{"applications":{`...)
	if !f.Compact {
		dst = append(appendJSONTags(dst, version, hashCode), ',')
	}
	return append(dst, `"application":[`...)
}

// AppendListTail appends what stands behind the applications of a list.
func (f Form) AppendListTail(dst []byte, version, hashCode string) []byte {
	if f.Format == XML {
		if f.Compact {
			dst = appendXMLTags(dst, version, hashCode)
		}
		return append(dst, "</applications>"...)
	}
	dst = append(dst, ']')
	if f.Compact {
		dst = appendJSONTags(append(dst, ','), version, hashCode)
	}
	return append(dst, "}}"...)
}

// AppendPart appends a part of a list: instances that follow each other in it, those of
// an application together. before and after are the applications of the instances around
// the part, "" at the list's ends.
func (f Form) AppendPart(dst []byte, part iter.Seq[*InstanceInfo], before, after string) []byte {
	app, open := before, false // in this part
	for i := range part {
		switch {
		case i.App == app:
			dst = f.appendComma(dst)
		case open:
			dst = f.openApplication(f.appendComma(f.closeApplication(dst)), i.App)
		case app == "":
			dst = f.openApplication(dst, i.App)
		default: // the part before has closed it
			dst = f.openApplication(f.appendComma(dst), i.App)
		}
		app, open = i.App, true
		dst = f.AppendInstance(dst, i)
	}
	if open && app != after {
		dst = f.closeApplication(dst)
	}
	return dst
}

// AppendApplicationDocument appends the answer that holds a single application.
func (f Form) AppendApplicationDocument(dst []byte, a Application) []byte {
	if f.Format == XML {
		return f.appendApplication(dst, a)
	}
	return append(f.appendApplication(append(dst, `{"application":`...), a), '}')
}

func (f Form) appendApplication(dst []byte, a Application) []byte {
	dst = f.openApplication(dst, a.Name)
	for n, i := range a.Instances {
		if n > 0 {
			dst = f.appendComma(dst)
		}
		dst = f.AppendInstance(dst, i)
	}
	return f.closeApplication(dst)
}

func (f Form) openApplication(dst []byte, name string) []byte {
	if f.Format == XML {
		return appendXMLElement(append(dst, "<application>"...), "name", name)
	}
	dst = appendJSONString(append(dst, `{"name":`...), name)
	return append(dst, `,"instance":[`...)
}

func (f Form) closeApplication(dst []byte) []byte {
	if f.Format == XML {
		return append(dst, "</application>"...)
	}
	return append(dst, "]}"...)
}

func (f Form) appendComma(dst []byte) []byte {
	if f.Format == XML {
		return dst
	}
	return append(dst, ',')
}

func appendXMLTags(dst []byte, version, hashCode string) []byte {
	return appendXMLElement(appendXMLElement(dst, "versions__delta", version), "apps__hashcode", hashCode)
}

func appendJSONTags(dst []byte, version, hashCode string) []byte {
	dst = appendJSONString(append(dst, `"versions__delta":`...), version)
	return appendJSONString(append(dst, `,"apps__hashcode":`...), hashCode)
}
