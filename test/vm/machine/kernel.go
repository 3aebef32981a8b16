// Package machine makes and boots virtual machines with Debian's kernel and
// user space, the project's binaries and tests on their disk, emulated by QEMU
// without help from the processor, so that it works wherever Go does.
package machine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// kernelPackage depends on the newest kernel of this Debian for virtual machines.
const kernelPackage = "linux-image-cloud-amd64"

// Kernel is Debian's kernel, unpacked below Dir, not installed.
type Kernel struct {
	// Dir holds boot/ and lib/modules/.
	Dir string
	// Release is what uname -r says.
	Release string
}

// Image is the file that is booted.
func (k *Kernel) Image() string { return filepath.Join(k.Dir, "boot/vmlinuz-"+k.Release) }

// Modules is the folder of the kernel's modules.
func (k *Kernel) Modules() string { return filepath.Join(k.Dir, "lib/modules", k.Release) }

// command runs a program and returns its output; its errors are in the error.
func command(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return "", fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, exit.Stderr)
	}
	return string(out), err
}

var dependsOnKernel = regexp.MustCompile(`(?m)^\s*Depends: linux-image-(\S+)`)

// FetchKernel downloads Debian's kernel and unpacks it below dir.
func FetchKernel(ctx context.Context, dir string) (*Kernel, error) {
	depends, err := command(ctx, dir, "apt-cache", "depends", kernelPackage)
	if err != nil {
		return nil, err
	}
	found := dependsOnKernel.FindStringSubmatch(depends)
	if found == nil {
		return nil, fmt.Errorf("the package lists have no kernel behind %s (`apt-get update` fetches them): %q", kernelPackage, depends)
	}
	k := &Kernel{Dir: filepath.Join(dir, "kernel"), Release: found[1]}
	name := "linux-image-" + k.Release
	if _, err := command(ctx, dir, "apt-get", "-o", "APT::Sandbox::User=root", "download", name); err != nil {
		return nil, err
	}
	debs, err := filepath.Glob(filepath.Join(dir, name+"_*.deb"))
	if err != nil || len(debs) != 1 {
		return nil, fmt.Errorf("apt-get download %s left %q: %w", name, debs, err)
	}
	if _, err := command(ctx, dir, "dpkg", "-x", debs[0], k.Dir); err != nil {
		return nil, err
	}
	if _, err := os.Stat(k.Image()); err != nil {
		return nil, err
	}
	return k, os.Remove(debs[0])
}
