package main

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/spf13/pflag"

	"github.com/registryd/registryd/broker"
)

// maxSecret bounds a secret, in bytes.
const maxSecret = broker.MaxSecret

// natsFlags are the flags that reach an existing NATS.
type natsFlags struct {
	urls  *string
	files []natsFile
}

// natsFile is a flag that names a file.
type natsFile struct {
	name string
	file *string
}

func addNATSFlags(fs *pflag.FlagSet, what string) natsFlags {
	n := natsFlags{urls: fs.String("nats", "", "`URLS` of "+what+", separated by commas")}
	for _, f := range []struct{ name, usage string }{
		{"nats-creds", "credentials `FILE` for --nats"},
		{"nats-nkey", "NKey seed `FILE` for --nats"},
		{"nats-login-file", "`FILE` with USER:PASSWORD or a token for --nats, in place of one in the URLs"},
		{"nats-tls-ca", "`FILE` with the CA of --nats"},
		{"nats-tls-cert", "`FILE` with this client's certificate for --nats"},
		{"nats-tls-key", "`FILE` with the key of --nats-tls-cert"},
	} {
		n.files = append(n.files, natsFile{f.name, fs.String(f.name, "", f.usage)})
	}
	group(fs, "NATS", "nats", "nats-creds", "nats-nkey", "nats-login-file", "nats-tls-ca", "nats-tls-cert",
		"nats-tls-key")
	return n
}

// access returns how to reach NATS; without --nats it has no URLs.
func (n natsFlags) access() (broker.Access, error) {
	a := broker.Access{
		URLs: list(*n.urls), CredsFile: *n.files[0].file, NKeyFile: *n.files[1].file,
		LoginFile: *n.files[2].file,
		TLS:       broker.TLSFiles{CA: *n.files[3].file, Cert: *n.files[4].file, Key: *n.files[5].file},
	}
	var wrong faults
	if *n.urls != "" && len(a.URLs) == 0 {
		wrong.addf("--nats %q: no URL", *n.urls)
	}
	for i, u := range a.URLs {
		wrong.add(checkBrokerURL(i, u))
	}
	for _, f := range n.files {
		if *f.file == "" {
			continue
		}
		if len(a.URLs) == 0 {
			wrong.addf("--%s needs --nats", f.name)
		} else if _, err := os.Stat(*f.file); err != nil {
			wrong.addf("--%s: %w", f.name, err)
		}
	}
	return a, wrong.err()
}

// checkBrokerURL refuses what cuts a URL short: a raw '#', '?' or '/' in a
// password ends it, and the rest would be taken for a host. The error does not
// show the URL, whose password may be anywhere in it.
func checkBrokerURL(i int, text string) error {
	if !strings.Contains(text, "://") {
		text = "nats://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Fragment != "" || u.RawQuery != "" ||
		strings.HasSuffix(text, "#") || strings.Contains(u.Path, "@") {
		return fmt.Errorf("--nats: URL %d can't be read: "+
			"write # as %%23, ? as %%3F, / as %%2F, @ as %%40 and %% as %%25 in a password", i+1)
	}
	return nil
}

// oneSecret reads the text of a file that holds one secret.
func oneSecret(text []byte) (string, error) {
	all, err := broker.ParseSecrets(text)
	if err != nil {
		return "", err
	}
	if len(all) > 1 {
		return "", errors.New("has more than one line")
	}
	return all[0], nil
}

// checkSecrets reports what is wrong with a file of secrets, which the broker reads.
func checkSecrets(name, file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("--%s: %w", name, err)
	}
	if _, err := broker.ParseSecrets(text); err != nil {
		return fmt.Errorf("--%s %s: %w", name, file, err)
	}
	return nil
}

// noData is the value of --data for a node without a snapshot.
const noData = "none"

// dataDir returns where a node keeps its snapshot, "" for nowhere. Unless it is
// given, that is the service manager's directory, or one of the user's for this
// node.
func dataDir(given, cluster, node string) (string, error) {
	switch given {
	case noData:
		return "", nil
	case "":
	default:
		return given, nil
	}
	if dirs := os.Getenv("STATE_DIRECTORY"); dirs != "" {
		first, _, _ := strings.Cut(dirs, ":") // systemd gives one for each that the unit names
		return first, nil
	}
	base := os.Getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(base) { // as the XDG specification has it
		home, err := stateHome()
		if err != nil {
			return "", fmt.Errorf("no place for the snapshot: %w; give --data DIR or --data %s", err, noData)
		}
		base = home
	}
	return filepath.Join(base, "registryd", cluster, node), nil
}

// stateHome returns the user's directory for what programs keep.
func stateHome() (string, error) {
	if runtime.GOOS == "windows" || runtime.GOOS == "darwin" {
		return os.UserConfigDir()
	}
	home, err := os.UserHomeDir()
	return filepath.Join(home, ".local", "state"), err
}
