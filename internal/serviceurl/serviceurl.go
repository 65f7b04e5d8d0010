// Package serviceurl reads the base URL of a Eureka server, as Eureka's own settings
// give it: http://user:password@host:8761/eureka/.
package serviceurl

import (
	"errors"
	"net/url"
	"strings"
)

// Parse returns a base URL with a slash at its end and without its user, and the user,
// nil if there is none. Its errors do not repeat any part of the URL: it may hold a
// password, also where it is not written as it should be.
func Parse(text string) (*url.URL, *url.Userinfo, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, nil, errors.New("url: not a URL")
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, nil, errors.New("url: does not begin with http:// or https://")
	case u.Hostname() == "":
		return nil, nil, errors.New("url: has no host")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, nil, errors.New("url: has a query or a fragment")
	}
	user := u.User
	base := *u
	base.User = nil
	if !strings.HasSuffix(base.Path, "/") {
		base.Path += "/"
		if base.RawPath != "" {
			base.RawPath += "/"
		}
	}
	return &base, user, nil
}
