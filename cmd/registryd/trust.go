package main

import (
	"crypto/tls"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/pflag"

	"github.com/registryd/registryd/internal/certs"
)

// trustFlags say how a command proves to nodes who asks, and which nodes it trusts.
type trustFlags struct{ ca, cert, key, login *string }

func addTrustFlags(fs *pflag.FlagSet) trustFlags {
	f := trustFlags{
		ca: fs.String("tls-ca", "",
			"`FILE` with the CAs of the nodes, which are asked by https; default for https: those of this machine"),
		cert: fs.String("tls-client-cert", "", "`FILE` with a certificate to show to nodes"),
		key:  fs.String("tls-client-key", "", "`FILE` with the key of --tls-client-cert"),
		login: fs.String("login-file", "",
			"`FILE` with NAME:PASSWORD or a token, shown to every node that is asked, also to peers; "+
				"a login in a URL goes to that node alone"),
	}
	group(fs, "Access", "tls-ca", "tls-client-cert", "tls-client-key", "login-file")
	return f
}

// secure reports whether nodes are asked by https unless their URL says otherwise.
func (f trustFlags) secure() bool { return *f.ca != "" || *f.cert != "" }

// open returns what asks nodes, which its caller closes, and the nodes that the flags and
// args name.
func (n nodeFlags) open(args []string) (*asker, []*url.URL, error) {
	roots, err := n.roots(args)
	if err != nil {
		return nil, nil, err
	}
	a, err := n.asker()
	return a, roots, err
}

// asker returns an asker that proves who asks.
func (n nodeFlags) asker() (*asker, error) {
	a, f := newAsker(), n.trust
	var wrong faults
	if (*f.cert == "") != (*f.key == "") {
		wrong.addf("--tls-client-cert and --tls-client-key: one without the other")
	} else if f.secure() {
		store, err := certs.Open("client", certs.Files{CA: *f.ca, Cert: *f.cert, Key: *f.key}, tls.NoClientCert, nil)
		if err != nil {
			wrong.add(err)
		} else if transport, ok := a.http.Transport.(*http.Transport); ok {
			transport.TLSClientConfig = store.Current().Client()
		}
	}
	if *f.login != "" {
		secret, err := readSecret("login-file", *f.login)
		wrong.add(err)
		a.login = "Bearer " + secret
		if strings.Contains(secret, ":") {
			a.login = "Basic " + base64.StdEncoding.EncodeToString([]byte(secret))
		}
	}
	return a, wrong.err()
}
