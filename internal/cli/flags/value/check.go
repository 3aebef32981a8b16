package value

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path"
	"strconv"
	"strings"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/blkiodev"
	"github.com/moby/moby/api/types/container"
)

func AttachStream(value string) (string, error) {
	switch s := strings.ToLower(value); s {
	case "stdin", "stdout", "stderr":
		return s, nil
	}
	return value, errors.New("valid streams are STDIN, STDOUT and STDERR")
}

func IP(value string) (string, error) {
	ip, err := netip.ParseAddr(strings.TrimSpace(value))
	if err != nil {
		return "", fmt.Errorf("IP address is not correctly formatted: %s", value)
	}
	return ip.String(), nil
}

func DNSSearch(value string) (string, error) {
	value = strings.Trim(value, " ")
	if value == "." {
		return value, nil
	}
	name := strings.TrimSuffix(value, ".")
	if name == "" || len(name) > 253 || !strings.ContainsFunc(name, isLetter) {
		return "", fmt.Errorf("%s is not a valid domain", value)
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.ContainsFunc(label, func(r rune) bool { return !isLetter(r) && !isDigit(r) && r != '-' && r != '_' }) {
			return "", fmt.Errorf("%s is not a valid domain", value)
		}
	}
	return name, nil
}

func isLetter(r rune) bool { return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' }
func isDigit(r rune) bool  { return '0' <= r && r <= '9' }

// ExtraHost accepts name:ip and name=ip, an IPv6 address bare or in
// brackets, and host-gateway for the address.
func ExtraHost(value string) (string, error) {
	name, ip, ok := strings.Cut(value, "=")
	if !ok {
		name, ip, ok = strings.Cut(value, ":")
	}
	if !ok || name == "" {
		return "", fmt.Errorf("bad format for add-host: %q", value)
	}
	if ip == "host-gateway" {
		return name + ":" + ip, nil
	}
	if len(ip) > 2 && ip[0] == '[' && ip[len(ip)-1] == ']' {
		ip = ip[1 : len(ip)-1]
	}
	if _, err := netip.ParseAddr(ip); err != nil {
		return "", fmt.Errorf("invalid IP address in add-host: %q", ip)
	}
	return name + ":" + ip, nil
}

func MAC(value string) (string, error) {
	if _, err := net.ParseMAC(strings.TrimSpace(value)); err != nil {
		return "", err
	}
	return strings.TrimSpace(value), nil
}

// Label refuses a label without a key.
func Label(value string) (string, error) {
	key, _, _ := strings.Cut(value, "=")
	if strings.TrimLeft(key, " \t") == "" {
		return "", fmt.Errorf("invalid label '%s': empty name", value)
	}
	return value, nil
}

// Env completes NAME from the environment; a name that is not set there
// stays without a value, which unsets it.
func Env(value string) (string, error) {
	key, _, ok := strings.Cut(value, "=")
	if key == "" {
		return "", errors.New("invalid environment variable: " + value)
	}
	if ok {
		return value, nil
	}
	if val, found := lookupEnv(key); found {
		return key + "=" + val, nil
	}
	return value, nil
}

// Sysctl accepts what is separate in a container's namespaces.
func Sysctl(value string) (string, error) {
	key, _, ok := strings.Cut(value, "=")
	if !ok || key == "" {
		return "", fmt.Errorf("sysctl '%s' is not allowed", value)
	}
	switch key {
	case "kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall",
		"kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced", "kernel.domainname":
		return value, nil
	}
	if strings.HasPrefix(key, "net.") || strings.HasPrefix(key, "fs.mqueue.") {
		return value, nil
	}
	return "", fmt.Errorf("sysctl '%s' is not allowed", value)
}

func Link(value string) (string, error) {
	if value == "" {
		return "", errors.New("empty string specified for links")
	}
	name, alias, ok := strings.Cut(value, ":")
	if strings.Contains(alias, ":") || ok && (name == "" || alias == "") {
		return "", fmt.Errorf("bad format for links: %s", value)
	}
	return value, nil
}

func GPUs(string) (string, error) {
	return "", errors.New("GPUs are not supported by hoy; pass their device nodes with --device and mount the driver's files")
}

// CgroupRule accepts "TYPE MAJOR:MINOR ACCESS": a, b or c, numbers or *,
// and r, w, m.
func CgroupRule(value string) (string, error) {
	bad := fmt.Errorf("invalid device cgroup format '%s'", value)
	fields := strings.Split(value, " ")
	if len(fields) != 3 || len(fields[0]) != 1 || !strings.Contains("acb", fields[0]) {
		return "", bad
	}
	major, minor, ok := strings.Cut(fields[1], ":")
	if !ok || !numberOrStar(major) || !numberOrStar(minor) {
		return "", bad
	}
	if n := len(fields[2]); n < 1 || n > 3 || strings.Trim(fields[2], "rwm") != "" {
		return "", bad
	}
	return value, nil
}

func numberOrStar(s string) bool {
	if s == "*" {
		return true
	}
	_, err := strconv.ParseUint(s, 10, 32)
	return err == nil
}

// Device accepts host[:container][:mode] and CDI names, vendor/class=name.
func Device(value string) (string, error) {
	if IsCDI(value) {
		return value, nil
	}
	dev, err := ParseDevice(value)
	if err != nil {
		return "", err
	}
	if !path.IsAbs(dev.PathInContainer) {
		return "", fmt.Errorf("%s is not an absolute path", dev.PathInContainer)
	}
	return value, nil
}

func IsCDI(value string) bool {
	kind, name, ok := strings.Cut(value, "=")
	vendor, class, slash := strings.Cut(kind, "/")
	return ok && slash && vendor != "" && class != "" && name != "" && value[0] != '/'
}

func ParseDevice(value string) (container.DeviceMapping, error) {
	parts := strings.Split(value, ":")
	dev := container.DeviceMapping{PathOnHost: parts[0], PathInContainer: parts[0], CgroupPermissions: "rwm"}
	switch len(parts) {
	case 1:
	case 2:
		if validDeviceMode(parts[1]) {
			dev.CgroupPermissions = parts[1]
		} else {
			dev.PathInContainer = parts[1]
		}
	case 3:
		if !validDeviceMode(parts[2]) {
			return dev, fmt.Errorf("bad mode specified: %s", parts[2])
		}
		dev.PathInContainer, dev.CgroupPermissions = parts[1], parts[2]
	default:
		return dev, fmt.Errorf("invalid device specification: %s", value)
	}
	if dev.PathOnHost == "" || dev.PathInContainer == "" {
		return dev, fmt.Errorf("bad format for path: %s", value)
	}
	return dev, nil
}

func validDeviceMode(mode string) bool {
	seen := map[rune]bool{}
	for _, r := range mode {
		if !strings.ContainsRune("rwm", r) || seen[r] {
			return false
		}
		seen[r] = true
	}
	return mode != ""
}

// Weights are --blkio-weight-device values.
type Weights []*blkiodev.WeightDevice

func (w *Weights) Set(value string) error {
	dev, num, ok := strings.Cut(value, ":")
	if !ok || dev == "" {
		return fmt.Errorf("bad format: %s", value)
	}
	if !strings.HasPrefix(dev, "/dev/") {
		return fmt.Errorf("bad format for device path: %s", value)
	}
	weight, err := strconv.ParseUint(num, 10, 16)
	if err != nil || weight > 0 && (weight < 10 || weight > 1000) {
		return fmt.Errorf("invalid weight for device: %s", value)
	}
	*w = append(*w, &blkiodev.WeightDevice{Path: dev, Weight: uint16(weight)})
	return nil
}

func (w *Weights) String() string { return "" }
func (w *Weights) Type() string   { return "list" }

// Throttles are --device-{read,write}-{bps,iops} values; sized ones take units.
type Throttles struct {
	Values []*blkiodev.ThrottleDevice
	// Sized takes bytes a second, with units.
	Sized bool
}

func (t *Throttles) Set(value string) error {
	dev, num, ok := strings.Cut(value, ":")
	if !ok || dev == "" {
		return fmt.Errorf("bad format: %s", value)
	}
	if !strings.HasPrefix(dev, "/dev/") {
		return fmt.Errorf("bad format for device path: %s", value)
	}
	var rate uint64
	if t.Sized {
		size, err := units.RAMInBytes(num)
		if err != nil || size < 0 {
			return fmt.Errorf("invalid rate for device: %s. The correct format is <device-path>:<number>[<unit>]. Number must be a positive integer. Unit is optional and can be kb, mb, or gb", value)
		}
		rate = uint64(size)
	} else {
		n, err := strconv.ParseUint(num, 10, 64)
		if err != nil {
			return fmt.Errorf("invalid rate for device: %s. The correct format is <device-path>:<number>. Number must be a positive integer", value)
		}
		rate = n
	}
	t.Values = append(t.Values, &blkiodev.ThrottleDevice{Path: dev, Rate: rate})
	return nil
}

func (t *Throttles) String() string { return "" }
func (t *Throttles) Type() string   { return "list" }
