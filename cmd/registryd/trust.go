package main

import (
	"crypto/tls"
	"encoding/base64"
	"net/url"
	"strings"

	"github.com/spf13/pflag"

	"github.com/registryd/registryd/internal/certs"
	"github.com/registryd/registryd/internal/reread"
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
	f := n.trust
	var files trustFiles
	var wrong faults
	var err error
	if (*f.cert == "") != (*f.key == "") {
		wrong.addf("--tls-client-cert and --tls-client-key: one without the other")
	} else if f.secure() {
		names := certs.Files{CA: *f.ca, Cert: *f.cert, Key: *f.key}
		files.certs, err = certs.Open("client", names, tls.NoClientCert, nil)
		wrong.add(err)
	}
	if *f.login != "" {
		files.login, err = reread.Open("login", []string{*f.login}, nil, func(contents [][]byte) (*string, error) {
			header, err := loginHeader(contents[0])
			return &header, err
		})
		if err != nil {
			wrong.addf("--login-file %s: %w", *f.login, err)
		}
	}
	if err := wrong.err(); err != nil {
		return nil, err
	}
	return &asker{trust: files, with: files.means()}, nil
}

// loginHeader makes the header Authorization of the text of a --login-file.
func loginHeader(text []byte) (string, error) {
	secret, err := oneSecret(text)
	if err != nil {
		return "", err
	}
	if strings.Contains(secret, ":") {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(secret)), nil
	}
	return "Bearer " + secret, nil
}

// trustFiles are what the files of trustFlags held when they could last be used; nil: no files.
type trustFiles struct {
	certs *certs.Store
	login *reread.Files[string]
}

// look reads the files again, and reports whether they hold something else.
func (f trustFiles) look() bool {
	changed := false
	if f.certs != nil {
		before := f.certs.Current()
		f.certs.Look()
		changed = f.certs.Current() != before
	}
	if f.login != nil {
		before := f.login.Current()
		f.login.Look()
		changed = f.login.Current() != before || changed
	}
	return changed
}

// means returns what requests are made with now.
func (f trustFiles) means() *means {
	var config *tls.Config
	if f.certs != nil {
		config = f.certs.Current().Client()
	}
	login := ""
	if f.login != nil {
		login = *f.login.Current()
	}
	return newMeans(config, login)
}
