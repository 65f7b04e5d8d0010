package redact_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/registryd/registryd/internal/redact"
)

func TestURL(t *testing.T) {
	for text, want := range map[string]string{
		"nats://h:4222":           "nats://h:4222",
		"nats://user:31337@h":     "nats://user:xxxxx@h",
		"nats://31337@h:4222":     "nats://xxxxx@h:4222",
		"nats://user:@h":          "nats://user:xxxxx@h",
		"http://31337@h/eureka/x": "http://xxxxx@h/eureka/x",
	} {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := redact.URL(u); got != want || u.String() != text {
			t.Errorf("%s: got %s, want %s; the URL is %s now", text, got, want, u)
		}
	}
}

func TestText(t *testing.T) {
	for text, want := range map[string]string{
		"":                    "",
		"a,b":                 "a,b",
		"/etc/ca.pem":         "/etc/ca.pem",
		"nats://n1:4222":      "nats://n1:4222",
		"nats://u:31337@n1":   "nats://xxxxx@n1",
		"nats://31337@n1":     "nats://xxxxx@n1",
		"u:31337@n1:4222":     "xxxxx@n1:4222",
		"http//u:31337@n1":    "xxxxx@n1",
		"u:3=1337@n1":         "xxxxx@n1",
		"a@b@c":               "xxxxx@c",
		"http://u:31/337@n1":  "http://xxxxx@n1",
		"http://u:31#337@n1":  "http://xxxxx@n1",
		"http://u:31?337@n1":  "http://xxxxx@n1",
		"http://u:31 337@n1":  "http://xxxxx@n1",
		"http://u:31@337@n1":  "http://xxxxx@n1",
		"http://u:31,337@n1":  "http://xxxxx@n1",
		"http://u:3,13,37@n1": "http://xxxxx@n1",

		"east=http://u:31337@n1/eureka/,west=http://n2/": "east=http://xxxxx@n1/eureka/,west=http://n2/",
		"east=u:31337@n1/eureka/":                        "east=xxxxx@n1/eureka/",
		"nats://u:31337@n1,nats://n2,tls://31337@n3":     "nats://xxxxx@n1,nats://n2,tls://xxxxx@n3",
		"n1,n2,31337@n3":                                 "n1,n2,xxxxx@n3",
		"nats://n1,31337@n2":                             "nats://xxxxx@n2", // n1 may be a part of a password
	} {
		if got := redact.Text(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

// FuzzText has a password of any text in a URL that may be wrong: none of it is left.
func FuzzText(f *testing.F) {
	f.Add("http://", "31337", "n1:8761/eureka/")
	f.Add("", "3,1/3#3?7", "n1")
	f.Fuzz(func(t *testing.T, scheme, password, host string) {
		if strings.ContainsAny(host, "@") || !strings.HasSuffix(scheme, "://") || strings.ContainsAny(scheme, "@,") ||
			strings.Contains(password, "@") && strings.Contains(password, ",") { // as a list looks
			return // no URL that is promised to be hidden
		}
		if got := redact.Text(scheme + "user:" + password + "#31337#@" + host); strings.Contains(got, "#31337#") {
			t.Errorf("%q is shown as %q", password, got)
		}
	})
}
