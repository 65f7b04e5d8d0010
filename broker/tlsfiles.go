package broker

import (
	"crypto/tls"

	natsserver "github.com/nats-io/nats-server/v2/server"

	"github.com/registryd/registryd/internal/certs"
)

// TLSFiles names PEM files. The zero value means no TLS of our own. They are reread when they change.
type TLSFiles struct {
	CA   string // Certificates to trust. On a server: clients must show one that it signed.
	Cert string // This side's certificate chain.
	Key  string // The key of Cert.
}

func (f TLSFiles) set() bool { return f != TLSFiles{} }

// secure sets the TLS of a server, for clients and routes. With a CA both have to show a certificate that it signed.
//
// Handshakes take the newest material, but for what a route that this server dials trusts: the NATS server copies that
// from the options, see Server.renew.
func secure(config *natsserver.Options, store *certs.Store) {
	own := store.Current().Client()
	config.TLSVerify = own.RootCAs != nil
	own.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		m := store.Current()
		now := m.Client()
		if m.Pool != nil {
			now.ClientCAs, now.ClientAuth = m.Pool, tls.RequireAndVerifyClientCert
		}
		return now, nil
	}
	own.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return &store.Current().Pairs[0], nil
	}
	if config.TLSVerify {
		own.ClientCAs, own.ClientAuth = own.RootCAs, tls.RequireAndVerifyClientCert
	}
	config.TLS, config.TLSConfig = true, own
	if config.Cluster.Name != "" {
		config.Cluster.TLSConfig = own.Clone()
	}
}
