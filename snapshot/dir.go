package snapshot

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/gofrs/flock"
)

// Names beside File in a directory.
const (
	lockFile  = "registry.lock"  // the process that uses the directory holds a lock on it
	ownerFile = "registry.owner" // names the node that the directory belongs to
)

// Errors of Open.
var (
	// ErrInUse: another process holds the directory. It may be about to stop.
	ErrInUse = errors.New("the directory is in use by another process")
	// ErrForeign: the directory belongs to another node or cluster.
	ErrForeign = errors.New("the directory belongs to another node")
)

// Dir is a directory that this process holds for the snapshots of one node.
type Dir struct{ lock *flock.Flock }

// owner is the content of ownerFile.
type owner struct {
	Cluster string `json:"cluster"`
	Node    string `json:"node"`
}

// Open makes the directory if it is missing, locks it, checks that it belongs to
// the node and the cluster, and checks that files can be made in it. A directory
// without an owner becomes the node's. A full disk is no error: the snapshot can
// still be read, and there may be room later. The lock ends with Close, and with
// the process. Errors: ErrInUse, ErrForeign, or what the file system reports.
func Open(dir, cluster, node string) (*Dir, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, err
	}
	lock := flock.New(filepath.Join(dir, lockFile), flock.SetPermissions(0o600))
	locked, err := lock.TryLock()
	if err == nil && !locked {
		err = fmt.Errorf("%s: %w", dir, ErrInUse)
	}
	if err == nil {
		err = own(dir, owner{Cluster: cluster, Node: node})
	}
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return &Dir{lock}, nil
}

// Close gives the directory to the next process. The lock's file stays: another
// process may have it open.
func (d *Dir) Close() error { return d.lock.Close() }

// own checks whose directory it is, and that it can be written.
func own(dir string, want owner) error {
	file := filepath.Join(dir, ownerFile)
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		err := replace(dir, ownerFile, func(w io.Writer) error { return json.NewEncoder(w).Encode(want) })
		return ignore(err, syscall.ENOSPC)
	}
	var is owner
	if err == nil {
		err = json.Unmarshal(text, &is)
	}
	switch {
	case err != nil:
		return fmt.Errorf("%s does not name a node, remove it if the directory is this node's: %w", file, err)
	case is != want:
		return fmt.Errorf("%s: %w: %.80q of cluster %.80q, this is %q of cluster %q",
			dir, ErrForeign, is.Node, is.Cluster, want.Node, want.Cluster)
	}
	return ignore(probe(dir), syscall.ENOSPC)
}

// probe makes a file and removes it.
func probe(dir string) error {
	f, err := os.CreateTemp(dir, tempPrefix+"*")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}
