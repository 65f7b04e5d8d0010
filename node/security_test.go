package node_test

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"

	"github.com/registryd/registryd/access"
	"github.com/registryd/registryd/internal/certstest"
	"github.com/registryd/registryd/node"
)

// adminToken is that of the login boss of secured nodes.
const adminToken = "0123456789abcdef"

// secured returns options with https and one login, of an admin.
func secured(t *testing.T, opts node.Options) node.Options {
	t.Helper()
	sum := sha256.Sum256([]byte(adminToken))
	file := filepath.Join(t.TempDir(), "logins")
	if err := os.WriteFile(file, []byte("boss admin sha256:"+hex.EncodeToString(sum[:])+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	opts.Security.Access = access.Options{File: file}
	opts.Security.TLSCert, opts.Security.TLSKey = certstest.NewCA(t, "ca").Files(t, t.TempDir(), "node")
	return opts
}
