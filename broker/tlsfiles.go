package broker

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
)

// TLSFiles names PEM files. The zero value means no TLS of our own.
type TLSFiles struct {
	CA   string // Certificates to trust. On a server: clients must show one that it signed.
	Cert string // This side's certificate chain.
	Key  string // The key of Cert.
}

func (f TLSFiles) set() bool { return f != TLSFiles{} }

// config reads the files. It returns nil for the zero value.
func (f TLSFiles) config() (*tls.Config, error) {
	if !f.set() {
		return nil, nil //nolint:nilnil // No files, no TLS: crypto/tls takes nil in that sense too.
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if f.CA != "" {
		pem, err := os.ReadFile(f.CA)
		if err != nil {
			return nil, fmt.Errorf("tls ca: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("tls ca: no certificate in %q", f.CA)
		}
	}
	if (f.Cert == "") != (f.Key == "") {
		return nil, errors.New("tls cert and tls key: one without the other")
	}
	if f.Cert != "" {
		pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
		if err != nil {
			return nil, fmt.Errorf("tls cert: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}
