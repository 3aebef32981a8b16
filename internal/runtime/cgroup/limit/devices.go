package limit

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	devices "github.com/opencontainers/cgroups/devices/config"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// DeviceRule is the library's form of a rule.
func DeviceRule(d specs.LinuxDeviceCgroup) (*devices.Rule, error) {
	rule := &devices.Rule{
		Type: devices.WildcardDevice, Major: devices.Wildcard, Minor: devices.Wildcard,
		Permissions: devices.Permissions(d.Access), Allow: d.Allow,
	}
	switch d.Type {
	case "", "a":
	case "c", "u":
		rule.Type = devices.CharDevice
	case "b":
		rule.Type = devices.BlockDevice
	default:
		return nil, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("invalid device type %q", d.Type))
	}
	if d.Major != nil {
		rule.Major = *d.Major
	}
	if d.Minor != nil {
		rule.Minor = *d.Minor
	}
	if rule.Permissions == "" {
		rule.Permissions = "rwm"
	}
	if !rule.Permissions.IsValid() {
		return nil, errdefs.ErrInvalidArgument.WithMessage("invalid device access " + strconv.Quote(d.Access))
	}
	return rule, nil
}

// AllowList gives the lines of version 1's devices.allow for rules of the common
// form, which forbid everything and then allow some: the second is false for others.
func AllowList(rules []specs.LinuxDeviceCgroup) ([]string, bool) {
	if len(rules) == 0 {
		return nil, false
	}
	all := rules[0]
	if all.Allow || (all.Type != "" && all.Type != "a") || !everyAccess(all.Access) || isNumber(all.Major) || isNumber(all.Minor) {
		return nil, false
	}
	lines := make([]string, 0, len(rules)-1)
	for _, r := range rules[1:] {
		rule, err := DeviceRule(r)
		if err != nil || !r.Allow || rule.Type == devices.WildcardDevice {
			return nil, false
		}
		lines = append(lines, rule.CgroupString())
	}
	return lines, true
}

func isNumber(n *int64) bool { return n != nil && *n != -1 }

func everyAccess(s string) bool {
	return s == "" || strings.Contains(s, "r") && strings.Contains(s, "w") && strings.Contains(s, "m")
}
