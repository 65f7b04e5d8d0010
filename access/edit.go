package access

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"golang.org/x/crypto/bcrypt"
)

// Bounds of what [Add] is given.
const (
	MinPassword = 8 // bytes
	tokenBytes  = 32
	// fileMode is that of a file of logins.
	fileMode = 0o600
)

// Errors of Add and Remove.
var (
	ErrExists  = errors.New("there is a login of that name")
	ErrMissing = errors.New("there is no login of that name")
	// ErrBusy: another process edits the file, and does not end.
	ErrBusy = errors.New("the file is being edited by another, nothing was written")
	// ErrChanged: another process changed the file at the same time.
	ErrChanged = errors.New("the file has just been changed by another, nothing was written")
)

// Entry is a login as it is written. Of Hash, Token and Cert at least one is set.
type Entry struct {
	Name, Role string
	Apps       []string
	Hash       string // see HashPassword
	Token      string // the token itself; its SHA-256 is written
	Cert       string // the subject of a certificate
}

// HashPassword returns the bcrypt hash of a password of 8 to 72 bytes.
func HashPassword(password string) (string, error) {
	if len(password) < MinPassword || len(password) > maxPassword {
		return "", fmt.Errorf("password: %d to %d bytes", MinPassword, maxPassword)
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.DefaultCost)
	return string(hash), err
}

// NewToken returns a random token of 256 bits.
func NewToken() string {
	b := make([]byte, tokenBytes)
	rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)
}

// line returns the entry's line in a file.
func (e Entry) line() string {
	var secrets []string
	if e.Hash != "" {
		secrets = append(secrets, e.Hash)
	}
	if e.Token != "" {
		sum := sumOf(e.Token)
		secrets = append(secrets, tokenPrefix+hex.EncodeToString(sum[:]))
	}
	if e.Cert != "" {
		secrets = append(secrets, certPrefix+e.Cert)
	}
	out := e.Name + " " + e.Role + " " + strings.Join(secrets, ",")
	if len(e.Apps) > 0 {
		out += " " + strings.Join(e.Apps, ",")
	}
	return out
}

// Add adds a login to a file, which is made if it is missing, or replaces the one of that
// name. Errors: ErrExists without replace, ErrBusy, ErrChanged, and the faults of the file as it
// would be.
func Add(file string, e Entry, replace bool) error {
	line := e.line()
	if strings.ContainsAny(line, "\r\n") || len(strings.Fields(line)) > 4 {
		return errors.New("spaces and line ends are in no name, certificate or application")
	}
	return edit(file, true, func(lines []string) ([]string, error) {
		at := find(lines, e.Name)
		switch {
		case at < 0:
			return append(lines, line), nil
		case !replace:
			return nil, fmt.Errorf("%s: %w", e.Name, ErrExists)
		}
		lines[at] = line
		return lines, nil
	})
}

// Remove removes a login from a file. Errors: ErrMissing, ErrBusy, ErrChanged.
func Remove(file, name string) error {
	return edit(file, false, func(lines []string) ([]string, error) {
		at := find(lines, name)
		if at < 0 {
			return nil, fmt.Errorf("%s: %w", name, ErrMissing)
		}
		return append(lines[:at], lines[at+1:]...), nil
	})
}

// find returns the line of a login, below 0 for none.
func find(lines []string, name string) int {
	for i, line := range lines {
		if fields := strings.Fields(line); len(fields) > 0 && fields[0] == name {
			return i
		}
	}
	return -1
}

// editWait is how long an edit waits for others.
const editWait = 10 * time.Second

// edit writes a file anew, whole or not at all, one edit after the other. Comments stay.
func edit(file string, create bool, change func(lines []string) ([]string, error)) error {
	// A name may be a symbolic link: what it leads to is replaced, not the link.
	if real, err := filepath.EvalSymlinks(file); err == nil {
		file = real
	} else if !create {
		return err
	}
	// The lock is on a file of its own, since the one that is edited is replaced.
	dir, name := filepath.Split(file)
	lock := flock.New(filepath.Join(dir, "."+name+".lock"), flock.SetPermissions(fileMode))
	ctx, cancel := context.WithTimeout(context.Background(), editWait)
	defer cancel()
	switch _, err := lock.TryLockContext(ctx, time.Millisecond); {
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w", file, ErrBusy)
	case err != nil:
		return err
	}
	defer lock.Unlock() //nolint:errcheck // The process ends with it, and its locks.
	before, err := os.ReadFile(file)
	if err != nil && (!create || !errors.Is(err, fs.ErrNotExist)) {
		return err
	}
	var lines []string
	if text := strings.TrimRight(string(before), "\n"); text != "" {
		lines = strings.Split(text, "\n")
	}
	if lines, err = change(lines); err != nil {
		return err
	}
	after := []byte(strings.Join(lines, "\n") + "\n")
	if err := Check(file, after); err != nil {
		return err
	}
	temp, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name()) //nolint:errcheck // It was renamed.
	_, err = temp.Write(after)
	if err = errors.Join(err, temp.Chmod(fileMode), temp.Sync(), temp.Close()); err != nil {
		return err
	}
	if now, err := os.ReadFile(file); !bytes.Equal(now, before) {
		return errors.Join(ErrChanged, err)
	}
	return os.Rename(temp.Name(), file)
}

// Summary is a login without its secrets.
type Summary struct {
	Name    string   `json:"name"`
	Role    string   `json:"role"`
	Apps    []string `json:"apps"`    // of role client
	Secrets []string `json:"secrets"` // password, token or the subject of a certificate
}

// List returns the logins of a file, in its order.
func List(file string) ([]Summary, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	s, err := parse(file, text)
	if err != nil {
		return nil, err
	}
	out := make([]Summary, len(s.logins))
	for i, l := range s.logins {
		out[i] = Summary{Name: l.Name, Role: l.Role.String(), Apps: append([]string{}, l.Apps...), Secrets: []string{}}
		for _, secret := range l.secrets {
			kind := "password"
			switch {
			case secret.token != nil:
				kind = "token"
			case secret.cert != "":
				kind = secret.text
			}
			out[i].Secrets = append(out[i].Secrets, kind)
		}
	}
	return out, nil
}
