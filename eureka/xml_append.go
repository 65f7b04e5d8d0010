package eureka

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

func appendXMLFull(dst []byte, i *InstanceInfo) []byte {
	dst = append(dst, "<instance>"...)
	dst = appendXMLOptional(dst, "instanceId", i.InstanceID)
	dst = appendXMLElement(dst, "hostName", i.HostName)
	dst = appendXMLElement(dst, "app", i.App)
	dst = appendXMLElement(dst, "ipAddr", i.IPAddr)
	if sentSID(i.SID) {
		dst = appendXMLElement(dst, "sid", i.SID)
	}
	dst = appendXMLElement(dst, "status", string(wireStatus(i.Status)))
	dst = appendXMLElement(dst, "overriddenstatus", string(wireStatus(i.OverriddenStatus)))
	dst = appendXMLPort(dst, "port", i.Port)
	dst = appendXMLPort(dst, "securePort", i.SecurePort)
	dst = appendXMLInt(dst, "countryId", int64(i.CountryID))
	dst = appendXMLDataCenter(dst, &i.DataCenterInfo, nil)
	dst = appendXMLLease(dst, &i.LeaseInfo)
	if len(i.Metadata) == 0 {
		dst = append(dst, `<metadata class="`+classEmptyMap+`"/>`...)
	} else {
		dst = appendXMLMap(dst, i.Metadata, nil)
	}
	dst = appendXMLOptional(dst, "appGroupName", i.AppGroupName)
	dst = appendXMLOptional(dst, "homePageUrl", i.HomePageURL)
	dst = appendXMLOptional(dst, "statusPageUrl", i.StatusPageURL)
	dst = appendXMLOptional(dst, "healthCheckUrl", i.HealthCheckURL)
	dst = appendXMLOptional(dst, "secureHealthCheckUrl", i.SecureHealthCheckURL)
	dst = appendXMLOptional(dst, "vipAddress", i.VIPAddress)
	dst = appendXMLOptional(dst, "secureVipAddress", i.SecureVIPAddress)
	dst = appendXMLElement(dst, "isCoordinatingDiscoveryServer", strconv.FormatBool(i.IsCoordinatingDiscoveryServer))
	dst = appendXMLInt(dst, "lastUpdatedTimestamp", i.LastUpdatedTimestamp)
	if i.LastDirtyTimestamp != NoTimestamp {
		dst = appendXMLInt(dst, "lastDirtyTimestamp", i.LastDirtyTimestamp)
	}
	if i.ActionType != "" {
		dst = appendXMLElement(dst, "actionType", string(i.ActionType))
	}
	dst = appendXMLOptional(dst, "asgName", i.ASGName)
	return append(dst, "</instance>"...)
}

func appendXMLCompact(dst []byte, i *InstanceInfo) []byte {
	dst = append(dst, "<instance>"...)
	dst = appendXMLOptional(dst, "instanceId", i.InstanceID)
	dst = appendXMLElement(dst, "app", i.App)
	dst = appendXMLElement(dst, "ipAddr", i.IPAddr)
	dst = appendXMLOptional(dst, "vipAddress", i.VIPAddress)
	dst = appendXMLOptional(dst, "secureVipAddress", i.SecureVIPAddress)
	dst = appendXMLDataCenter(dst, &i.DataCenterInfo, compactAmazonKey)
	dst = appendXMLElement(dst, "hostName", i.HostName)
	dst = appendXMLElement(dst, "status", string(wireStatus(i.Status)))
	dst = appendXMLInt(dst, "lastUpdatedTimestamp", i.LastUpdatedTimestamp)
	if i.ActionType != "" {
		dst = appendXMLElement(dst, "actionType", string(i.ActionType))
	}
	dst = appendXMLOptional(dst, "asgName", i.ASGName)
	dst = appendXMLPort(dst, "port", i.Port)
	dst = appendXMLPort(dst, "securePort", i.SecurePort)
	return append(dst, "</instance>"...)
}

func appendXMLPort(dst []byte, name string, p Port) []byte {
	dst = append(append(append(dst, '<'), name...), ` enabled="`...)
	dst = append(strconv.AppendBool(dst, p.Enabled), `">`...)
	dst = strconv.AppendInt(dst, int64(p.Number), 10)
	return appendXMLEnd(dst, name)
}

func appendXMLDataCenter(dst []byte, d *DataCenterInfo, keep func(string) bool) []byte {
	if d.Name != Amazon {
		dst = append(dst, `<dataCenterInfo class="`+classMyOwn+`">`...)
		dst = appendXMLElement(dst, "name", d.Name)
	} else {
		dst = append(dst, `<dataCenterInfo class="`+classAmazon+`"><name>`+Amazon+`</name>`...)
		dst = appendXMLMap(dst, d.Metadata, keep)
	}
	return append(dst, "</dataCenterInfo>"...)
}

func appendXMLLease(dst []byte, l *LeaseInfo) []byte {
	dst = append(dst, "<leaseInfo>"...)
	dst = appendXMLInt(dst, "renewalIntervalInSecs", int64(l.RenewalIntervalInSecs))
	dst = appendXMLInt(dst, "durationInSecs", int64(l.DurationInSecs))
	dst = appendXMLInt(dst, "registrationTimestamp", l.RegistrationTimestamp)
	dst = appendXMLInt(dst, "lastRenewalTimestamp", l.LastRenewalTimestamp)
	dst = appendXMLInt(dst, "evictionTimestamp", l.EvictionTimestamp)
	dst = appendXMLInt(dst, "serviceUpTimestamp", l.ServiceUpTimestamp)
	return append(dst, "</leaseInfo>"...)
}

// appendXMLMap writes <metadata> with an element for each entry that passes
// keep, sorted by key. An empty key has no element and is left out.
func appendXMLMap(dst []byte, m map[string]string, keep func(string) bool) []byte {
	var room [24]string
	dst = append(dst, "<metadata>"...)
	for _, key := range sortedKeys(room[:0], m, keep) {
		if key == "" {
			continue
		}
		dst = append(appendXMLName(append(dst, '<'), key), '>')
		dst = appendXMLText(dst, m[key])
		dst = append(appendXMLName(append(dst, "</"...), key), '>')
	}
	return append(dst, "</metadata>"...)
}

func appendXMLOptional(dst []byte, name string, s *string) []byte {
	if s == nil {
		return dst
	}
	return appendXMLElement(dst, name, *s)
}

// appendXMLElement writes an element whose name needs no escape.
func appendXMLElement(dst []byte, name, text string) []byte {
	dst = append(append(append(dst, '<'), name...), '>')
	dst = appendXMLText(dst, text)
	return appendXMLEnd(dst, name)
}

func appendXMLInt(dst []byte, name string, n int64) []byte {
	dst = append(append(append(dst, '<'), name...), '>')
	return appendXMLEnd(strconv.AppendInt(dst, n, 10), name)
}

func appendXMLEnd(dst []byte, name string) []byte {
	return append(append(append(dst, "</"...), name...), '>')
}

// appendXMLText writes s as character data. What XML has no character for
// becomes U+FFFD: one instance must not make a whole list unreadable.
func appendXMLText(dst []byte, s string) []byte {
	start := 0
	for n := 0; n < len(s); {
		r, size := rune(s[n]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRuneInString(s[n:])
		}
		escape := ""
		switch {
		case r == '&':
			escape = "&amp;"
		case r == '<':
			escape = "&lt;"
		case r == '>':
			escape = "&gt;"
		case r == '"':
			escape = "&quot;"
		case r == '\'':
			escape = "&apos;"
		case r == '\r':
			escape = "&#xd;" // as itself it would be read as a line feed
		case r == utf8.RuneError && size == 1, r < ' ' && r != '\t' && r != '\n', r == 0xfffe, r == 0xffff:
			escape = "\ufffd"
		default:
			n += size
			continue
		}
		dst = append(append(dst, s[start:n]...), escape...)
		n += size
		start = n
	}
	return append(dst, s[start:]...)
}

// appendXMLName writes a key of a map as the name of an element, as Eureka
// does: _ as __, $ as _-, and what may not stand there as _. and its UTF-16
// unit in four hexadecimal digits.
//
// Two things differ, so that every XML parser can read the list: characters
// beyond ASCII that only the fifth edition of XML allows in names are escaped,
// and so are colons, since a parser that knows name spaces refuses a prefix that
// nobody declared. Java's readers undo any such escape.
func appendXMLName(dst []byte, key string) []byte {
	for n, r := range key {
		switch {
		case r == '_':
			dst = append(dst, "__"...)
		case r == '$':
			dst = append(dst, "_-"...)
		case nameStart(r), nameRest(r) && n > 0:
			dst = utf8.AppendRune(dst, r)
		case r > 0xffff:
			r -= 0x10000
			dst = appendXMLUnit(dst, 0xd800+r>>10)
			dst = appendXMLUnit(dst, 0xdc00+r&0x3ff)
		default:
			dst = appendXMLUnit(dst, r)
		}
	}
	return dst
}

// appendXMLUnit writes an escaped UTF-16 unit.
func appendXMLUnit(dst []byte, u rune) []byte {
	const hex = "0123456789abcdef"
	return append(dst, '_', '.', hex[u>>12&0xf], hex[u>>8&0xf], hex[u>>4&0xf], hex[u&0xf])
}

// nameStart reports whether r may begin an element's name in every edition of
// XML: the letters of common scripts.
func nameStart(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z':
		return true
	case r < 0xc0:
		return false
	}
	return r <= 0x131 && r != 0xd7 && r != 0xf7 || // Latin
		0x391 <= r && r <= 0x3a1 || 0x3a3 <= r && r <= 0x3ce || // Greek
		0x401 <= r && r <= 0x40c || 0x40e <= r && r <= 0x44f || 0x451 <= r && r <= 0x45c || // Cyrillic
		0x5d0 <= r && r <= 0x5ea || // Hebrew
		0x3041 <= r && r <= 0x3094 || 0x30a1 <= r && r <= 0x30fa || // Hiragana, Katakana
		0x4e00 <= r && r <= 0x9fa5 || // Han
		0xac00 <= r && r <= 0xd7a3 // Hangul
}

// nameRest reports whether r may stand in a name, but not begin it.
func nameRest(r rune) bool {
	return '0' <= r && r <= '9' || r == '-' || r == '.' || r == 0xb7
}

// xmlKey returns the key that appendXMLName made the name of. A _ that begins
// no escape stands for itself.
func xmlKey(name string) string {
	if strings.IndexByte(name, '_') < 0 {
		return name
	}
	key := make([]byte, 0, len(name))
	high := rune(0) // an escaped high surrogate that waits for its low one
	for n := 0; n < len(name); {
		rest := name[n:]
		var unit rune
		switch {
		case strings.HasPrefix(rest, "_-"):
			unit, n = '$', n+2
		case strings.HasPrefix(rest, "__"):
			unit, n = '_', n+2
		case strings.HasPrefix(rest, "_.") && len(rest) >= 6:
			u, err := strconv.ParseUint(rest[2:6], 16, 16)
			if err != nil {
				unit, n = '_', n+1
				break
			}
			unit, n = rune(u), n+6
		default:
			r, size := utf8.DecodeRuneInString(rest)
			unit, n = r, n+size
		}
		switch {
		case high != 0 && 0xdc00 <= unit && unit <= 0xdfff:
			key = utf8.AppendRune(key, 0x10000+(high-0xd800)<<10+unit-0xdc00)
			high = 0
			continue
		case high != 0:
			key = utf8.AppendRune(key, utf8.RuneError)
			high = 0
		}
		if 0xd800 <= unit && unit <= 0xdbff {
			high = unit
			continue
		}
		key = utf8.AppendRune(key, unit) // a lone low surrogate becomes U+FFFD
	}
	if high != 0 {
		key = utf8.AppendRune(key, utf8.RuneError)
	}
	return string(key)
}
