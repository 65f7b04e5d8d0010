// Package redact takes secrets out of URLs that people are shown.
//
//	what was given ──Text──▶ pages, errors        a parsed URL ──URL──▶ logs
package redact

import (
	"net/url"
	"strings"
)

// mark stands where a secret was.
const mark = "xxxxx"

// URL returns a URL without its secret: the password, or the user where there is no password,
// which is how NATS writes a token.
func URL(u *url.URL) string {
	if u.User == nil {
		return u.String()
	}
	if _, has := u.User.Password(); has {
		return u.Redacted()
	}
	out := *u
	out.User = url.User(mark)
	return out.String()
}

// Text returns URLs that are separated by commas without what stands before their hosts. They need
// not be right, nor have a scheme: a password may hold what should have been escaped, also a
// comma. Rather than a part of a password it hides a host.
func Text(text string) string {
	var out []string
	for part := range strings.SplitSeq(text, ",") {
		if !strings.Contains(part, "@") {
			out = append(out, part)
			continue
		}
		if !strings.Contains(part, "://") {
			// It may be the end of a URL whose password holds a comma.
			for i := len(out) - 1; i >= 0 && !strings.Contains(out[i], "@"); i-- {
				if strings.Contains(out[i], "://") {
					part = strings.Join(append(out[i:], part), ",")
					out = out[:i]
					break
				}
			}
		}
		out = append(out, hidden(part))
	}
	return strings.Join(out, ",")
}

// hidden returns one URL without its user. A name before it, as in east=http://…, stays.
func hidden(text string) string {
	begin := 0
	if i := strings.Index(text, "://"); i >= 0 {
		begin = i + len("://")
	} else if i := strings.IndexAny(text, "=:"); i >= 0 && text[i] == '=' {
		begin = i + 1
	}
	return text[:begin] + mark + text[max(begin, strings.LastIndex(text, "@")):]
}
