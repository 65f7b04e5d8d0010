package topology_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/nats-io/nkeys"
)

// The kinds of NATS keys.
const (
	operator = nkeys.PrefixByteOperator
	account  = nkeys.PrefixByteAccount
	user     = nkeys.PrefixByteUser
)

// key is an NKey, as the tools nk and nsc make them.
type key struct{ nkeys.KeyPair }

func newKey(tb testing.TB, kind nkeys.PrefixByte) key {
	tb.Helper()
	pair, err := nkeys.CreatePair(kind)
	if err != nil {
		tb.Fatal(err)
	}
	return key{pair}
}

func (k key) public(tb testing.TB) string {
	tb.Helper()
	text, err := k.PublicKey()
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

func (k key) seed(tb testing.TB) string {
	tb.Helper()
	seed, err := k.Seed()
	if err != nil {
		tb.Fatal(err)
	}
	return string(seed)
}

// seedFile is the file for --nats-nkey.
func (k key) seedFile(tb testing.TB) string { tb.Helper(); return file(tb, "seed.nk", k.seed(tb)) }

// sign makes a NATS JWT about subject, with claims of its kind.
func (k key) sign(tb testing.TB, subject, name string, claims map[string]any) string {
	tb.Helper()
	claims["version"] = 2
	body, err := json.Marshal(map[string]any{
		"jti": name, "iat": time.Now().Unix(), "iss": k.public(tb), "name": name, "sub": subject, "nats": claims,
	})
	if err != nil {
		tb.Fatal(err)
	}
	enc := base64.RawURLEncoding
	text := enc.EncodeToString([]byte(`{"typ":"JWT","alg":"ed25519-nkey"}`)) + "." + enc.EncodeToString(body)
	signature, err := k.Sign([]byte(text))
	if err != nil {
		tb.Fatal(err)
	}
	return text + "." + enc.EncodeToString(signature)
}

func (k key) operatorJWT(tb testing.TB) string {
	tb.Helper()
	return k.sign(tb, k.public(tb), "operator", map[string]any{"type": "operator"})
}

// accountJWT lets messages of an account have so many bytes; -1 is any.
func (k key) accountJWT(tb testing.TB, account key, payload int) string {
	tb.Helper()
	return k.sign(tb, account.public(tb), "registry", map[string]any{"type": "account", "limits": map[string]any{
		"subs": -1, "data": -1, "payload": payload, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1,
	}})
}

// credsFile is the file for --nats-creds: a user of the account.
func (k key) credsFile(tb testing.TB) string {
	tb.Helper()
	u := newKey(tb, user)
	jwt := k.sign(tb, u.public(tb), "node", map[string]any{"type": "user", "subs": -1, "data": -1, "payload": -1})
	return file(tb, "user.creds", fmt.Sprintf(
		"-----BEGIN NATS USER JWT-----\n%s\n------END NATS USER JWT------\n\n"+
			"-----BEGIN USER NKEY SEED-----\n%s\n------END USER NKEY SEED------\n", jwt, u.seed(tb)))
}

// authority is a CA for one test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

// certificate names the PEM files of a certificate and its key.
type certificate struct{ cert, key string }

func newAuthority(tb testing.TB) authority {
	tb.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, private := sign(tb, template, template, nil)
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return authority{cert, private, file(tb, "ca.pem", pemText("CERTIFICATE", der))}
}

// issue makes a certificate for 127.0.0.1, of a server or a client.
func (a authority) issue(tb testing.TB, name string) certificate {
	tb.Helper()
	der, private := sign(tb, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}, a.cert, a.key)
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		tb.Fatal(err)
	}
	return certificate{file(tb, name+".pem", pemText("CERTIFICATE", der)), file(tb, name+".key", pemText("PRIVATE KEY", secret))}
}

// sign makes a key, and a certificate for it; by is nil for one that signs
// itself.
func sign(tb testing.TB, template, parent *x509.Certificate, by *ecdsa.PrivateKey) ([]byte, *ecdsa.PrivateKey) {
	tb.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	if by == nil {
		by = private
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &private.PublicKey, by)
	if err != nil {
		tb.Fatal(err)
	}
	return der, private
}

func pemText(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}
