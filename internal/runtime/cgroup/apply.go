package cgroup

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/sys/userns"
	"github.com/opencontainers/cgroups"
	// Teaches the library device rules.
	_ "github.com/opencontainers/cgroups/devices"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"hoy/internal/runtime/cgroup/kernfs"
	"hoy/internal/runtime/cgroup/limit"
	"hoy/internal/runtime/cgroup/tree"
)

// apply does writes. Those that may have to wait for others are tried a second
// time at the end. Where old is given it takes what undoes them, in order.
func (g *group) apply(writes []limit.Write, old *[]limit.Write) error {
	var again []limit.Write
	for _, w := range writes {
		err := g.do(w, old)
		if w.Again && errors.Is(err, unix.EINVAL) {
			again = append(again, w)
			continue
		}
		if err != nil {
			return err
		}
	}
	for _, w := range again {
		w.Again = false
		if err := g.do(w, old); err != nil {
			return err
		}
	}
	return nil
}

func (g *group) do(w limit.Write, old *[]limit.Write) error {
	dir := g.paths[w.Controller]
	if rest, ok := strings.CutPrefix(w.Value, limit.Keep+" "); ok {
		now, err := kernfs.Read(dir, w.File)
		if err != nil {
			return err
		}
		quota, _, _ := strings.Cut(now, " ")
		w.Value = quota + " " + rest
	}
	var before string
	if old != nil && !w.Keyed {
		before, _ = kernfs.Read(dir, w.File)
	}
	err := kernfs.Write(dir, w.File, w.Value)
	switch {
	case err == nil:
		if old != nil && before != "" {
			undo := w
			undo.Value, undo.Or, undo.Again = before, nil, true
			*old = append(*old, undo)
		}
		return nil
	case w.Or != nil && errors.Is(err, unix.ENOENT):
		return g.do(*w.Or, old)
	case slices.ContainsFunc(w.Pass, func(e unix.Errno) bool { return errors.Is(err, e) }):
		return nil
	case w.Again && errors.Is(err, unix.EINVAL):
		return err // not the last word
	default:
		return explain(dir, w, err)
	}
}

// explain says in words what the kernel said with a number.
func explain(dir string, w limit.Write, err error) error {
	switch {
	case errors.Is(err, unix.ENOENT):
		controller, _, _ := strings.Cut(w.File, ".")
		if on, err := kernfs.Read(dir, "cgroup.controllers"); w.Controller == "" && err == nil && !hasWord(on, controller) {
			return errdefs.ErrFailedPrecondition.WithMessage(fmt.Sprintf(
				"%s cannot be limited: the controller is not enabled for the cgroups here (one above that has processes of its own cannot hand it on)", controller))
		}
		return errdefs.ErrFailedPrecondition.WithMessage(fmt.Sprintf("the kernel has no %s for this group: %s cannot be limited so here", w.File, controller))
	case errors.Is(err, unix.EBUSY) && (w.File == "memory.limit_in_bytes" || w.File == "memory.memsw.limit_in_bytes"):
		kind := strings.TrimSuffix(w.File, "limit_in_bytes")
		usage, _ := kernfs.Read(dir, kind+"usage_in_bytes")
		peak, _ := kernfs.Read(dir, kind+"max_usage_in_bytes")
		return errdefs.ErrFailedPrecondition.WithMessage(fmt.Sprintf(
			"unable to set memory limit to %s (current usage: %s, peak usage: %s): the kernel cannot free that much", w.Value, usage, peak))
	case errors.Is(err, unix.EINVAL) && strings.HasPrefix(w.File, "memory.") && w.Controller != "":
		memory, _ := kernfs.Read(dir, "memory.limit_in_bytes")
		return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf(
			"%s cannot be %s: the limit of memory and swap together must not be below that of memory (now %s)", w.File, w.Value, memory))
	case errors.Is(err, unix.ENODEV) && w.Keyed:
		return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("%s: there is no device for %q", w.File, w.Value))
	case errors.Is(err, unix.ENOTSUP):
		return errdefs.ErrFailedPrecondition.WithMessage(fmt.Sprintf("the kernel does not support %s = %s here", w.File, w.Value))
	}
	return err
}

// checkUsage refuses limits below what is used, where the caller wants that
// and the kernel (of version 2) would end processes instead.
func (g *group) checkUsage(r *specs.LinuxResources) error {
	one, two := g.t.Has("memory")
	if one || !two || r == nil || r.Memory == nil || r.Memory.CheckBeforeUpdate == nil || !*r.Memory.CheckBeforeUpdate {
		return nil
	}
	now, err := kernfs.Read(g.paths[""], "memory.current")
	if err != nil {
		return nil //nolint:nilerr // no counter, no check
	}
	usage, err := strconv.ParseInt(now, 10, 64)
	if err != nil {
		return nil //nolint:nilerr // as above
	}
	for what, v := range map[string]*int64{"memory limit": r.Memory.Limit, "memory+swap limit": r.Memory.Swap} {
		if v != nil && *v > 0 && *v <= usage {
			return errdefs.ErrFailedPrecondition.WithMessage(fmt.Sprintf("rejecting %s %d <= usage %d", what, *v, usage))
		}
	}
	return nil
}

// devices applies access rules; no rule at all means that nobody asked.
func (g *group) devices(rules []specs.LinuxDeviceCgroup, fresh bool) error {
	if len(rules) == 0 {
		return nil
	}
	one, _ := g.t.Has("devices")
	if lines, ok := limit.AllowList(rules); ok && one && fresh && !userns.RunningInUserNS() {
		return allow(g.paths["devices"], lines)
	}
	res := &cgroups.Resources{}
	for _, r := range rules {
		rule, err := limit.DeviceRule(r)
		if err != nil {
			return err
		}
		res.Devices = append(res.Devices, rule)
	}
	if one {
		return cgroups.DevicesSetV1(g.paths["devices"], res)
	}
	return cgroups.DevicesSetV2(g.paths[""], res)
}

// allow forbids everything and allows what lines say, in a group that is new:
// the kernel takes one rule a write, and as many writes as one likes to an open file.
func allow(dir string, lines []string) error {
	if err := kernfs.Write(dir, "devices.deny", "a"); err != nil {
		return err
	}
	name := filepath.Join(dir, "devices.allow")
	fd, err := kernfs.Open(name, unix.O_WRONLY)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	for _, l := range lines {
		if err := kernfs.WriteTo(fd, name, l); err != nil {
			if errors.Is(err, unix.EPERM) {
				return fmt.Errorf("the parent group forbids device %q: %w", l, err)
			}
			return err
		}
	}
	return nil
}

// freezer is where the group is frozen: version 2, wherever it can.
func (g *group) freezer() (dir string, two bool) {
	if dir := g.paths[""]; dir != "" && (g.paths["freezer"] == "" || tree.File(dir, "cgroup.freeze")) {
		return dir, true
	}
	return g.paths["freezer"], false
}
