package snapshot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// MaxAside is how many files that were set aside are kept, the newest.
const MaxAside = 5

// Names beside File: where one is written, and where one is set aside. The
// latter sort by the time in them.
const (
	tempPrefix  = File + ".tmp-"
	asidePrefix = File + ".unusable-"
	asideTime   = "20060102T150405.000000000Z"
)

// SetAside renames a snapshot that is not usable, so that it is neither read
// again nor overwritten, and returns its new name, which holds the time and is
// no other file's. Of those that were set aside before only the newest stay:
// MaxAside files in all. An error beside a name is about what could not be
// removed; without one the snapshot is where it was, or there is none
// (fs.ErrNotExist).
func SetAside(dir string) (string, error) {
	if _, err := os.Lstat(filepath.Join(dir, File)); err != nil {
		return "", fmt.Errorf("snapshot: %w", err)
	}
	name := ""
	for at := time.Now().UTC(); ; at = at.Add(time.Nanosecond) {
		name = asidePrefix + at.Format(asideTime)
		if _, err := os.Lstat(filepath.Join(dir, name)); err != nil {
			break
		}
	}
	if err := os.Rename(filepath.Join(dir, File), filepath.Join(dir, name)); err != nil {
		return "", fmt.Errorf("snapshot: %w", err)
	}
	before, err := files(dir, func(s string) bool { return isAside(s) && s != name })
	slices.Sort(before)
	_, removeErr := remove(dir, before[:max(0, len(before)+1-MaxAside)])
	return filepath.Join(dir, name), errors.Join(err, removeErr)
}

// RemoveLeftovers removes what a process that was killed during Write has left
// in dir, and returns how many files that were. It is for the start, when nobody
// writes: a directory belongs to one node. Errors are about what is still there.
func RemoveLeftovers(dir string) (int, error) {
	names, err := files(dir, isTemp)
	removed, removeErr := remove(dir, names)
	return removed, errors.Join(err, removeErr)
}

// isTemp reports whether Write has made the name, by os.CreateTemp.
func isTemp(name string) bool {
	random, ok := strings.CutPrefix(name, tempPrefix)
	n, err := strconv.ParseUint(random, 10, 64)
	return ok && err == nil && strconv.FormatUint(n, 10) == random
}

// isAside reports whether SetAside has made the name.
func isAside(name string) bool {
	text, ok := strings.CutPrefix(name, asidePrefix)
	at, err := time.Parse(asideTime, text)
	return ok && err == nil && at.Format(asideTime) == text
}

// files returns the names of the files in dir that match. A directory that is
// not there has none.
func files(dir string, match func(name string) bool) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err = ignore(err, fs.ErrNotExist); err != nil {
		err = fmt.Errorf("snapshot: %w", err)
	}
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() && match(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// remove removes files of dir and returns how many it has.
func remove(dir string, names []string) (removed int, err error) {
	for _, name := range names {
		switch e := os.Remove(filepath.Join(dir, name)); {
		case e == nil:
			removed++
		case !errors.Is(e, fs.ErrNotExist):
			err = errors.Join(err, fmt.Errorf("snapshot: %w", e))
		}
	}
	return removed, err
}
