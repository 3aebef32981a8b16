package daemon

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/moby/moby/api/types/events"

	"hoy/internal/config"
)

// watchSignals reads the configuration again on SIGHUP and writes what every
// goroutine does on SIGUSR1, until the returned function is called.
func (d *Daemon) watchSignals() (stop func()) {
	got := make(chan os.Signal, 4)
	signal.Notify(got, syscall.SIGHUP, syscall.SIGUSR1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for s := range got {
			if s == syscall.SIGHUP {
				d.reload()
				continue
			}
			if path, err := d.dumpStacks(); err != nil {
				d.log.Error("goroutine stacks not written", "err", err)
			} else {
				d.log.Info("goroutine stacks written", "file", path)
			}
		}
	}()
	return func() {
		signal.Stop(got)
		close(got)
		<-ended
	}
}

// reload takes over what may change while we run. A configuration that is
// wrong changes nothing.
func (d *Daemon) reload() {
	next, err := config.Load(d.args, io.Discard)
	if err != nil {
		d.log.Error("configuration not reloaded, the old one stays", "err", err)
		return
	}
	d.mu.Lock()
	taken, restart := d.cfg.Reload(next)
	d.level.Set(d.cfg.Level())
	d.setRuntimes()
	insecure, mirrors := d.cfg.InsecureRegistries, d.cfg.Mirrors
	d.mu.Unlock()
	if err := d.images.SetRegistries(insecure, mirrors); err != nil {
		d.log.Error("registries not reloaded", "err", err)
	}
	d.log.Info("configuration reloaded", "changed", taken)
	if len(restart) > 0 {
		d.log.Warn("these options need a restart of the daemon to change", "options", restart)
	}
	d.events.Publish(events.Message{
		Type: events.DaemonEventType, Action: events.ActionReload, Scope: "local",
		Actor: events.Actor{ID: d.id, Attributes: d.reloaded(taken)},
	})
}

// reloaded is what the event tells of the configuration, in dockerd's form.
func (d *Daemon) reloaded(taken []string) map[string]string {
	d.mu.Lock()
	defer d.mu.Unlock()
	text := func(v any) string {
		b, _ := json.Marshal(v)
		return string(b)
	}
	c := &d.cfg
	return map[string]string{
		"name": hostname(), "changed": fmt.Sprint(taken), "debug": strconv.FormatBool(c.Debug),
		"labels": text(append([]string{}, c.Labels...)), "insecure-registries": text(append([]string{}, c.InsecureRegistries...)),
		"registry-mirrors": text(append([]string{}, c.Mirrors...)), "live-restore": strconv.FormatBool(c.LiveRestore),
		"shutdown-timeout": strconv.Itoa(c.ShutdownTimeout), "default-runtime": c.DefaultRuntime,
		"runtimes": strings.Join(slices.Sorted(maps.Keys(c.Runtimes)), " "),
	}
}

func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return ""
	}
	return name
}

// maxStacks bounds the dump, in bytes.
const maxStacks = 64 << 20

func (d *Daemon) dumpStacks() (string, error) {
	buf := make([]byte, 1<<20)
	n := goruntime.Stack(buf, true)
	for n == len(buf) && len(buf) < maxStacks {
		buf = make([]byte, 2*len(buf))
		n = goruntime.Stack(buf, true)
	}
	path := filepath.Join(d.cfg.ExecRoot, "goroutine-stacks-"+time.Now().UTC().Format("20060102T150405Z")+".log")
	return path, os.WriteFile(path, buf[:n], 0o600) //nolint:forbidigo // a dump for a person to read, of no use after a crash
}
