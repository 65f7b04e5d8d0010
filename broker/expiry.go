package broker

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Expiry is a metric of when the certificates in some files are over. It reads them with each scrape, since they are
// renewed while a node runs.
type Expiry struct {
	files map[string]string // By what they are for.
	desc  *prometheus.Desc
}

var _ prometheus.Collector = (*Expiry)(nil)

// NewExpiry returns the metric of the certificates that a node shows to NATS, and that its embedded broker shows.
func NewExpiry(nats, embedded TLSFiles) *Expiry {
	return &Expiry{
		files: map[string]string{"nats": nats.Cert, "embedded": embedded.Cert},
		desc: prometheus.NewDesc("registryd_broker_certificate_expiry_timestamp_seconds",
			"When the first certificate of the chain is over that this node shows, by use: nats, to an existing NATS, "+
				"or embedded, by the embedded broker.", []string{"use"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (e *Expiry) Describe(descs chan<- *prometheus.Desc) { descs <- e.desc }

// Collect implements prometheus.Collector. A file that can't be read has no series.
func (e *Expiry) Collect(metrics chan<- prometheus.Metric) {
	for use, file := range e.files {
		if at, ok := expiry(file); ok {
			metrics <- prometheus.MustNewConstMetric(e.desc, prometheus.GaugeValue, float64(at.Unix()), use)
		}
	}
}

// maxCertificates bounds the file of a chain, in bytes.
const maxCertificates = 1 << 20

// expiry returns when the first certificate of a chain is over.
func expiry(file string) (at time.Time, ok bool) {
	if info, err := os.Stat(file); file == "" || err != nil || info.Size() > maxCertificates {
		return at, false
	}
	rest, err := os.ReadFile(file)
	if err != nil {
		return at, false
	}
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return at, ok
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err == nil && (!ok || cert.NotAfter.Before(at)) {
			at, ok = cert.NotAfter, true
		}
	}
}
