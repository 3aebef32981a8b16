package config

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/opencontainers/runtime-spec/specs-go"

	"hoy/internal/runtime/armor"
	"hoy/internal/runtime/landlock"
)

// Security is what the list of --security-opt says.
type Security struct {
	NoNewPrivileges bool
	// NoNewPrivilegesSet where the list names it at all.
	NoNewPrivilegesSet bool
	// Seccomp is "" for the engine's default, "unconfined", or a profile in JSON.
	Seccomp string
	// AppArmor is the profile that the list names, or "unconfined"; "" is the
	// engine's default.
	AppArmor string
	// Landlock are rules that landlock.Parse has read.
	Landlock []string
	// WritableCgroups mounts /sys/fs/cgroup writable.
	WritableCgroups bool
}

// ParseSecurity reads hc.SecurityOpt; hasAppArmor says whether the kernel can confine by profile.
func ParseSecurity(hc *container.HostConfig, hasAppArmor bool) (Security, error) {
	var s Security
	for _, opt := range hc.SecurityOpt {
		key, value, ok := strings.Cut(opt, "=")
		if !ok {
			key, value, ok = strings.Cut(opt, ":")
		}
		if opt == "no-new-privileges" {
			s.NoNewPrivileges, s.NoNewPrivilegesSet = true, true
			continue
		}
		if !ok || value == "" {
			return s, invalid("invalid --security-opt 1: %q", opt)
		}
		switch key {
		case "label": // there is no SELinux to label for; Docker accepts the option then, too
		case "seccomp":
			s.Seccomp = value
			if value == "builtin" {
				s.Seccomp = ""
			}
		case "apparmor":
			if value != "unconfined" && !hasAppArmor {
				return s, invalid("AppArmor is not supported on this host, but the profile '%s' was specified", value)
			}
			s.AppArmor = value
		case "landlock":
			s.Landlock = append(s.Landlock, value)
		case "no-new-privileges", "writable-cgroups":
			on, err := strconv.ParseBool(value)
			if err != nil {
				return s, invalid("invalid --security-opt 2: %q", opt)
			}
			if key == "writable-cgroups" {
				s.WritableCgroups = on
			} else {
				s.NoNewPrivileges, s.NoNewPrivilegesSet = on, true
			}
		default:
			return s, invalid("invalid --security-opt 2: %q", opt)
		}
	}
	if _, err := landlock.Parse(s.Landlock); err != nil {
		return s, invalid("invalid --security-opt: %v", err)
	}
	return s, nil
}

// DefaultAppArmor fills in the profile of a container that names none; has says
// whether the machine has the engine's default one.
func (s *Security) DefaultAppArmor(privileged, has bool) {
	switch {
	case s.AppArmor != "":
	case has && !privileged:
		s.AppArmor = armor.Default
	case has:
		s.AppArmor = "unconfined"
	}
}

// CheckLandlock refuses rules that this kernel, or a runtime other than the
// built-in one, would not keep.
func (s *Security) CheckLandlock(builtIn bool) error {
	rules, err := landlock.Parse(s.Landlock)
	if err == nil {
		err = rules.Check(landlock.Version())
	}
	switch {
	case err != nil:
		return invalid("invalid --security-opt: %v", err)
	case !rules.Empty() && !builtIn:
		return invalid("invalid --security-opt: landlock: only the built-in runtime has it: leave --runtime out")
	}
	return nil
}

// DefaultCapabilities are what an unprivileged container has, as Docker does.
var DefaultCapabilities = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID",
	"CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
}

// AllCapabilities in the order of their numbers, capabilities(7).
var AllCapabilities = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID",
	"CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN",
	"CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT",
	"CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE",
	"CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL",
	"CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND",
	"CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
}

// Capabilities gives the set that a container holds: the default ones, less
// drop, with add; all of them where it is privileged.
func Capabilities(add, drop []string, privileged bool) ([]string, error) {
	adds, err := capNames("CapAdd", add)
	if err != nil {
		return nil, err
	}
	drops, err := capNames("CapDrop", drop)
	if err != nil {
		return nil, err
	}
	if privileged {
		return AllCapabilities, nil
	}
	var caps []string
	switch {
	case slices.Contains(adds, "ALL"):
		caps = without(AllCapabilities, drops)
	case slices.Contains(drops, "ALL"):
	default:
		caps = without(DefaultCapabilities, drops)
	}
	for _, c := range adds {
		if c != "ALL" && !slices.Contains(caps, c) {
			caps = append(caps, c)
		}
	}
	return caps, nil
}

func without(all, drop []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(c string) bool { return slices.Contains(drop, c) })
}

func capNames(field string, in []string) ([]string, error) {
	var out []string
	for _, c := range in {
		name := strings.ToUpper(c)
		if name == "ALL" || name == "CAP_ALL" {
			out = append(out, "ALL")
			continue
		}
		if !strings.HasPrefix(name, "CAP_") {
			name = "CAP_" + name
		}
		if !slices.Contains(AllCapabilities, name) {
			return nil, invalid("invalid %s: unknown capability: %q", field, c)
		}
		out = append(out, name)
	}
	return out, nil
}

var deviceRule = regexp.MustCompile(`^([acb]) ([0-9]+|\*):([0-9]+|\*) ([rwm]{1,3})$`)

// DeviceRules reads --device-cgroup-rule in the form of the kernel's devices.allow.
func DeviceRules(rules []string) ([]specs.LinuxDeviceCgroup, error) {
	var out []specs.LinuxDeviceCgroup
	for _, rule := range rules {
		m := deviceRule.FindStringSubmatch(rule)
		if m == nil {
			return nil, invalid("invalid device cgroup rule format: '%s'", rule)
		}
		r := specs.LinuxDeviceCgroup{Allow: true, Type: m[1], Access: m[4]}
		for i, to := range []**int64{&r.Major, &r.Minor} {
			if s := m[2+i]; s != "*" {
				n, err := strconv.ParseInt(s, 10, 64)
				if err != nil {
					return nil, invalid("invalid device cgroup rule format: '%s'", rule)
				}
				*to = &n
			}
		}
		out = append(out, r)
	}
	return out, nil
}

func checkDevice(d container.DeviceMapping) error {
	if d.PathOnHost == "" {
		return invalid("invalid device specification: the path on the host is empty")
	}
	if strings.Trim(d.CgroupPermissions, "rwm") != "" {
		return invalid("invalid device mode: %s", d.CgroupPermissions)
	}
	return nil
}
