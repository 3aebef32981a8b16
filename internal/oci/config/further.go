package config

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Further says how a further process of a container differs from the first.
type Further struct {
	// File, where not empty, holds all of the process as JSON.
	File                       string
	Cwd, User, Label, AppArmor string
	Env, Groups, Caps          []string
	Terminal, NoNewPrivs       bool
}

// Process is the container's own process with the flags' changes, or the file's.
func (f *Further) Process(own *specs.Process, args []string) (*specs.Process, error) {
	p := own
	if f.File != "" {
		data, err := File(f.File)
		if err != nil {
			return nil, err
		}
		p = new(specs.Process)
		if err := json.Unmarshal(data, p); err != nil {
			return nil, fmt.Errorf("%s: %w", f.File, err)
		}
		return p, CheckProcess(p)
	}
	p.Args, p.Terminal = args, f.Terminal
	p.Env = append(p.Env, f.Env...)
	for to, value := range map[*string]string{&p.Cwd: f.Cwd, &p.SelinuxLabel: f.Label, &p.ApparmorProfile: f.AppArmor} {
		if value != "" {
			*to = value
		}
	}
	p.NoNewPrivileges = p.NoNewPrivileges || f.NoNewPrivs
	if len(f.Caps) > 0 {
		if p.Capabilities == nil {
			p.Capabilities = new(specs.LinuxCapabilities)
		}
		for _, set := range []*[]string{&p.Capabilities.Bounding, &p.Capabilities.Effective, &p.Capabilities.Permitted} {
			*set = append(*set, f.Caps...)
		}
	}
	if err := f.setUser(&p.User); err != nil {
		return nil, err
	}
	return p, CheckProcess(p)
}

func (f *Further) setUser(u *specs.User) error {
	if f.User != "" {
		uid, gid, hasGid := strings.Cut(f.User, ":")
		n, err := strconv.ParseUint(uid, 10, 32)
		if err != nil {
			return fmt.Errorf("parsing %s as int for uid failed: %w", uid, err)
		}
		u.UID = uint32(n)
		if hasGid {
			if n, err = strconv.ParseUint(gid, 10, 32); err != nil {
				return fmt.Errorf("parsing %s as int for gid failed: %w", gid, err)
			}
			u.GID = uint32(n)
		}
	}
	for _, g := range f.Groups {
		n, err := strconv.ParseUint(g, 10, 32)
		if err != nil {
			return fmt.Errorf("parsing %s as int for gid failed: %w", g, err)
		}
		u.AdditionalGids = append(u.AdditionalGids, uint32(n))
	}
	return nil
}
