package durable

import (
	"os"
	"path/filepath"
	"regexp"
)

// unfinished matches what WriteFile calls a file before it is whole.
var unfinished = regexp.MustCompile(`^\..+\.[0-9]+$`)

// Sweep removes from a directory what a WriteFile left that was killed. Nobody
// may be writing there.
func Sweep(dir string) error {
	entries, err := os.ReadDir(dir)
	if os.IsNotExist(err) {
		return nil
	}
	for _, e := range entries {
		if e.Type().IsRegular() && unfinished.MatchString(e.Name()) {
			if rerr := os.Remove(filepath.Join(dir, e.Name())); rerr != nil && err == nil {
				err = rerr
			}
		}
	}
	return err
}
