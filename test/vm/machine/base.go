package machine

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"
)

// Base is everything that a machine is booted from.
type Base struct {
	Kernel *Kernel
	// Inside and Disk as in Machine.
	Inside, Disk string
}

// Make builds a base in dir from the module's tree at module, with the tests of
// packages. With reuse, Debian's files are taken from an earlier base in dir.
func Make(ctx context.Context, dir, module string, tests []string, reuse bool) (*Base, error) {
	b := &Base{Kernel: &Kernel{}, Inside: filepath.Join(dir, "inside"), Disk: filepath.Join(dir, "disk")}
	root, kernel := filepath.Join(dir, "root"), filepath.Join(dir, "kernel.json")
	work, both := errgroup.WithContext(ctx)
	work.Go(func() error {
		if text, err := os.ReadFile(kernel); reuse && err == nil {
			return json.Unmarshal(text, b.Kernel)
		}
		var err error
		if b.Kernel, err = FetchKernel(both, dir); err != nil {
			return err
		}
		if err := Debian(both, root, b.Kernel); err != nil {
			return err
		}
		text, err := json.Marshal(b.Kernel)
		if err != nil {
			return err
		}
		return os.WriteFile(kernel, text, 0o600) //nolint:forbidigo // lost with its directory
	})
	built := filepath.Join(dir, "built")
	work.Go(func() error {
		if err := os.RemoveAll(built); err != nil {
			return err
		}
		return Install(both, module, built, tests)
	})
	work.Go(func() error { return BuildInside(both, module, b.Inside) })
	if err := work.Wait(); err != nil {
		return nil, err
	}
	if err := os.RemoveAll(root + "/hoy-vm"); err != nil {
		return nil, err
	}
	if err := os.Rename(built+"/hoy-vm", root+"/hoy-vm"); err != nil {
		return nil, err
	}
	if err := os.RemoveAll(b.Disk); err != nil {
		return nil, err
	}
	return b, Disk(ctx, root, b.Disk, "2G")
}
