// Package armor has the AppArmor profile of containers that name none, and
// loads it where the machine has AppArmor.
package armor

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// Default is the profile's name.
const Default = "hoy-default"

//go:embed profile
var profile string

// InKernel asks the kernel whether it confines by profile.
var InKernel = sync.OnceValue(func() bool {
	b, err := os.ReadFile("/sys/module/apparmor/parameters/enabled")
	return err == nil && len(b) > 0 && b[0] == 'Y'
})

// parser is what loads profiles (Debian's package apparmor); "" where it is not.
var parser = sync.OnceValue(func() string {
	for _, path := range []string{"/sbin/apparmor_parser", "/usr/sbin/apparmor_parser"} {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return ""
})

// HasDefault says whether containers get the default profile: as in Docker, the
// kernel must have AppArmor and the machine what loads a profile.
func HasDefault() bool { return InKernel() && parser() != "" }

const (
	loaded   = "/sys/kernel/security/apparmor/profiles"
	loadTime = 20 * time.Second
)

var loading sync.Mutex

// Ensure loads the default profile where the kernel does not hold it: whatever
// reloads AppArmor on the machine forgets it.
func Ensure(ctx context.Context) error {
	if has, err := holds(Default); has || err != nil {
		return err
	}
	loading.Lock()
	defer loading.Unlock()
	if has, err := holds(Default); has || err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, loadTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, parser(), "--replace", "--skip-cache", "--quiet") //nolint:gosec // one of two fixed paths
	cmd.Stdin = strings.NewReader(text(ownLabel()))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("AppArmor is enabled on this machine, but the profile %s cannot be loaded: %w: %s", Default, err, bytes.TrimSpace(out))
	}
	return nil
}

func holds(name string) (bool, error) {
	list, err := os.ReadFile(loaded)
	if errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("AppArmor is enabled on this machine, but %s is not there: mount securityfs at /sys/kernel/security", loaded)
	}
	if err != nil {
		return false, err
	}
	return bytes.HasPrefix(list, []byte(name+" (")) || bytes.Contains(list, []byte("\n"+name+" (")), nil
}

// ownLabel is the profile that the calling process is confined by.
func ownLabel() string {
	label, err := os.ReadFile("/proc/self/attr/apparmor/current")
	if err != nil {
		if label, err = os.ReadFile("/proc/self/attr/current"); err != nil {
			return "unconfined"
		}
	}
	name, _, _ := strings.Cut(strings.TrimSpace(string(label)), " (")
	return name
}

// text is the profile; its processes take signals from those confined by engine.
func text(engine string) string {
	if engine == "" || strings.ContainsAny(engine, "\"\n\\") {
		engine = "unconfined"
	}
	return strings.NewReplacer("NAME", Default, "ENGINE", `"`+engine+`"`).Replace(profile)
}
