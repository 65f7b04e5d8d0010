package serviceurl_test

import (
	"strings"
	"testing"

	"github.com/registryd/registryd/internal/serviceurl"
)

func TestParse(t *testing.T) {
	for _, tt := range []struct{ text, base, user string }{
		{"http://host:8761/eureka/", "http://host:8761/eureka/", ""},
		{"http://host:8761/eureka", "http://host:8761/eureka/", ""},
		{"https://host", "https://host/", ""},
		{"http://[::1]:8761/eureka/v2", "http://[::1]:8761/eureka/v2/", ""},
		{"http://host/a%2Fb", "http://host/a%2Fb/", ""},
		{"http://me:secret@host/eureka/", "http://host/eureka/", "me:secret"},
		{"http://me@host/eureka/", "http://host/eureka/", "me"},
		{"http://me:a%40b@host/eureka/", "http://host/eureka/", "me:a%40b"},
	} {
		base, user, err := serviceurl.Parse(tt.text)
		if err != nil {
			t.Errorf("%s: %v", tt.text, err)
			continue
		}
		if base.String() != tt.base || user.String() != tt.user {
			t.Errorf("%s: got %s and %q, want %s and %q", tt.text, base, user, tt.base, tt.user)
		}
	}
}

func TestParseRepeatsNothing(t *testing.T) {
	for name, text := range map[string]string{
		"no URL":                      "http://me:31337%zz@host/",
		"another scheme":              "ftp://me:31337@host/",
		"no scheme":                   "me:31337@host",
		"no host":                     "http://me:31337@/eureka/",
		"a port alone":                "http://me:31337@:8761/",
		"query":                       "http://host/eureka/?password=31337",
		"a mark of a query":           "http://host/eureka/?",
		"fragment":                    "http://host/eureka/#31337",
		"password with a mark":        "http://me:31337?@host/",
		"password with a slash":       "http://me:31337/@host/eureka/?x",
		"password with a number sign": "http://me:31337#@host/",
	} {
		t.Run(name, func(t *testing.T) {
			base, _, err := serviceurl.Parse(text)
			if err == nil {
				t.Fatalf("%s: taken as %s", text, base)
			}
			if strings.Contains(err.Error(), "31337") {
				t.Errorf("the error repeats the secret: %v", err)
			}
		})
	}
}
