package eureka

// AppendApplications appends a list answer. An application without instances is
// not listed, as in Eureka. Version and hash code stand in front, but behind the
// applications in the compact form.
func (f Form) AppendApplications(dst []byte, a Applications) []byte {
	if f.Format == XML {
		dst = append(dst, "<applications>"...)
		if !f.Compact {
			dst = a.appendXMLTags(dst)
		}
		for _, app := range a.Applications {
			if len(app.Instances) > 0 {
				dst = f.appendApplication(dst, app)
			}
		}
		if f.Compact {
			dst = a.appendXMLTags(dst)
		}
		return append(dst, "</applications>"...)
	}
	dst = append(dst, `{"applications":{`...)
	if !f.Compact {
		dst = append(a.appendJSONTags(dst), ',')
	}
	dst = append(dst, `"application":[`...)
	listed := 0
	for _, app := range a.Applications {
		if len(app.Instances) == 0 {
			continue
		}
		if listed++; listed > 1 {
			dst = append(dst, ',')
		}
		dst = f.appendApplication(dst, app)
	}
	dst = append(dst, ']')
	if f.Compact {
		dst = a.appendJSONTags(append(dst, ','))
	}
	return append(dst, "}}"...)
}

// AppendApplicationDocument appends the answer that holds a single application.
func (f Form) AppendApplicationDocument(dst []byte, a Application) []byte {
	if f.Format == XML {
		return f.appendApplication(dst, a)
	}
	return append(f.appendApplication(append(dst, `{"application":`...), a), '}')
}

func (f Form) appendApplication(dst []byte, a Application) []byte {
	if f.Format == XML {
		dst = appendXMLElement(append(dst, "<application>"...), "name", a.Name)
		for _, i := range a.Instances {
			dst = f.AppendInstance(dst, i)
		}
		return append(dst, "</application>"...)
	}
	dst = appendJSONString(append(dst, `{"name":`...), a.Name)
	dst = append(dst, `,"instance":[`...)
	for n, i := range a.Instances {
		if n > 0 {
			dst = append(dst, ',')
		}
		dst = f.AppendInstance(dst, i)
	}
	return append(dst, "]}"...)
}

func (a *Applications) appendXMLTags(dst []byte) []byte {
	return appendXMLElement(appendXMLElement(dst, "versions__delta", a.Version), "apps__hashcode", a.HashCode)
}

func (a *Applications) appendJSONTags(dst []byte) []byte {
	dst = appendJSONString(append(dst, `"versions__delta":`...), a.Version)
	return appendJSONString(append(dst, `,"apps__hashcode":`...), a.HashCode)
}
