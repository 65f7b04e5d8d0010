package eureka

// Format is a language that Eureka speaks.
type Format uint8

// The two formats. The zero value is JSON.
const (
	JSON Format = iota
	XML
)

// ContentType returns the media type that Eureka labels the format with. It
// names no charset; the text is UTF-8.
func (f Format) ContentType() string {
	if f == XML {
		return "application/xml"
	}
	return "application/json"
}

// Form is how an answer is written: its format, and whether it is compact. Full
// is the zero value, as in Eureka. Compact keeps what a caller of the instances
// needs: names, addresses, ports, status.
type Form struct {
	Format  Format
	Compact bool
}

// ContentType returns the media type of the form's format.
func (f Form) ContentType() string { return f.Format.ContentType() }

// AppendInstance appends one instance as it stands in lists and, in full JSON,
// in replication messages: a bare object in JSON, an <instance> in XML.
//
// Text that is not UTF-8 is repaired with U+FFFD, and so is what XML has no
// characters for; a status beyond the five is written as UNKNOWN. A
// LastDirtyTimestamp of [NoTimestamp] and an empty ActionType are left out.
func (f Form) AppendInstance(dst []byte, i *InstanceInfo) []byte {
	switch {
	case f.Format == XML && f.Compact:
		return appendXMLCompact(dst, i)
	case f.Format == XML:
		return appendXMLFull(dst, i)
	case f.Compact:
		return appendJSONCompact(dst, i)
	default:
		return appendJSONFull(dst, i)
	}
}

// AppendInstanceDocument appends the answer that holds a single instance. It is
// always full. XML tells the true status, where Eureka writes DOWN for
// OUT_OF_SERVICE and UNKNOWN, a leftover of its first version.
func (f Format) AppendInstanceDocument(dst []byte, i *InstanceInfo) []byte {
	if f == XML {
		return appendXMLFull(dst, i)
	}
	dst = append(dst, `{"instance":`...)
	dst = appendJSONFull(dst, i)
	return append(dst, '}')
}

// wireStatus is what is written for s: readers know five statuses only, and
// Spring's client fails its whole fetch on a sixth.
func wireStatus(s Status) Status {
	s, _ = ParseStatus(string(s))
	return s
}
