package doctor

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// controllers are those of all mounted hierarchies, and how they are mounted.
func (h Host) controllers() (has map[string]bool, mode string) {
	has = map[string]bool{}
	mounts, _ := h.read("/proc/self/mounts")
	one, two := false, false
	for line := range strings.Lines(mounts) {
		f := strings.Fields(line)
		if len(f) < 4 {
			continue
		}
		switch f[2] {
		case "cgroup":
			for _, o := range strings.Split(f[3], ",") {
				has[o] = true
			}
			one = true
			has["swap"] = has["swap"] || exists(h.Root+f[1]+"/memory.memsw.limit_in_bytes")
		case "cgroup2":
			two = true
			list, _ := h.read(f[1] + "/cgroup.controllers")
			for _, c := range strings.Fields(list) {
				has[c] = true
			}
			below, _ := filepath.Glob(h.Root + f[1] + "/*/memory.swap.max")
			has["swap"] = has["swap"] || len(below) > 0
		}
	}
	switch {
	case one && two:
		mode = "hybrid: controllers of version 1, freezing of version 2"
	case one:
		mode = "version 1"
	case two:
		mode = "version 2"
	}
	return has, mode
}

func (h Host) cgroups() []Result {
	has, mode := h.controllers()
	if mode == "" {
		return []Result{{Check: "cgroups", Status: Problem, Found: "not mounted", Do: "mount -t cgroup2 none /sys/fs/cgroup"}}
	}
	all := []Result{{Check: "cgroups", Status: OK, Found: mode}}
	for _, c := range []struct{ name, controller, do string }{
		{"memory limits", "memory", "boot with cgroup_enable=memory"},
		{"swap limits", "swap", "boot with swapaccount=1, or do without: memory limits hold all the same"},
		{"cpu limits", "cpu", "use a kernel with CONFIG_CFS_BANDWIDTH"},
		{"cpu sets", "cpuset", "use a kernel with CONFIG_CPUSETS"},
		{"process limits", "pids", "use a kernel with CONFIG_CGROUP_PIDS"},
	} {
		found := "there"
		if !has[c.controller] {
			found = "the controller is missing"
		}
		all = append(all, when(c.name, found, has[c.controller], Warning, c.do))
	}
	return all
}

func (h Host) firewall() []Result {
	var all []Result
	forward, _ := h.read("/proc/sys/net/ipv4/ip_forward")
	all = append(all, when("forwarding", "net.ipv4.ip_forward is "+forward, forward == "1", Warning,
		"nothing, if no daemon runs: hoyd turns it on; else look who turned it off"))
	if err := askNftables(); err != nil {
		return append(all, Result{Check: "nftables", Status: Problem, Found: err.Error(), Do: "modprobe nf_tables nf_nat; the network of containers is made with it"})
	}
	all = append(all, Result{Check: "nftables", Status: OK, Found: "there"})
	if tables, _ := h.read("/proc/net/ip_tables_names"); strings.Contains(tables, "filter") {
		all = append(all, Result{Check: "iptables", Status: Warning, Found: "the old one has rules beside nftables",
			Do: "iptables-legacy -L FORWARD: what it drops, no other firewall can let through; use iptables-nft"})
	}
	return append(all, blockers()...)
}

// askNftables asks the kernel for the generation of its rules.
func askNftables() error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return fmt.Errorf("no netfilter: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	msg := make([]byte, unix.SizeofNlMsghdr+4) // with a struct nfgenmsg
	binary.NativeEndian.PutUint32(msg, uint32(len(msg)))
	binary.NativeEndian.PutUint16(msg[4:], unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETGEN)
	binary.NativeEndian.PutUint16(msg[6:], unix.NLM_F_REQUEST)
	if err := unix.Sendto(fd, msg, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("no nftables: %w", err)
	}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 2}); err != nil {
		return err
	}
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil || n < unix.SizeofNlMsghdr+4 {
		return fmt.Errorf("no answer of nftables: %w", err)
	}
	if binary.NativeEndian.Uint16(answer[4:]) == unix.NLMSG_ERROR {
		if e := int32(binary.NativeEndian.Uint32(answer[unix.SizeofNlMsghdr:])); e != 0 && e != -int32(unix.EPERM) {
			return fmt.Errorf("no nftables: %w", unix.Errno(-e))
		}
	}
	return nil
}

// blockers are the chains that drop what is forwarded, as nft lists them.
func blockers() (all []Result) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "nft", "-j", "list", "chains").Output()
	if err != nil {
		return []Result{{Check: "firewall", Status: Warning, Found: "its rules cannot be listed: " + err.Error(), Do: "run this as root, with nft (package nftables) installed"}}
	}
	names, err := dropping(out)
	if err != nil {
		return []Result{{Check: "firewall", Status: Warning, Found: err.Error(), Do: "nft list chains"}}
	}
	for _, name := range names {
		all = append(all, Result{Check: "firewall", Status: Warning, Found: name + " drops what is forwarded by default",
			Do: "accept there what comes from and goes to the bridge; the daemon's log has the commands"})
	}
	if len(all) == 0 {
		all = append(all, Result{Check: "firewall", Status: OK, Found: "nothing drops what is forwarded"})
	}
	return all
}

// dropping reads nft's JSON.
func dropping(out []byte) (names []string, err error) {
	var list struct {
		Nftables []struct {
			Chain *struct{ Family, Table, Name, Hook, Policy string }
		}
	}
	if err := json.Unmarshal(out, &list); err != nil {
		return nil, fmt.Errorf("nft's answer: %w", err)
	}
	for _, o := range list.Nftables {
		if c := o.Chain; c != nil && c.Hook == "forward" && c.Policy == "drop" && (c.Family == "ip" || c.Family == "inet") {
			names = append(names, fmt.Sprintf("%s %s %s", c.Family, c.Table, c.Name))
		}
	}
	return names, nil
}

// kinds are file systems by the number that statfs gives.
var kinds = map[int64]struct {
	name string
	bad  string
}{
	unix.EXT4_SUPER_MAGIC: {name: "ext4"}, unix.XFS_SUPER_MAGIC: {name: "xfs"}, unix.BTRFS_SUPER_MAGIC: {name: "btrfs"},
	unix.F2FS_SUPER_MAGIC:      {name: "f2fs"},
	0x2fc12fc1:                 {name: "zfs"},
	unix.TMPFS_MAGIC:           {"tmpfs", "all data is lost when the machine goes off"},
	unix.OVERLAYFS_SUPER_MAGIC: {"overlayfs", "overlays cannot stand on it: layers are copied"},
	unix.NFS_SUPER_MAGIC:       {"nfs", "layers cannot be kept there"},
	0xff534d42:                 {"cifs", "layers cannot be kept there"},
	unix.FUSE_SUPER_MAGIC:      {"fuse", "overlays may not work on it, and it may hang"},
	unix.MSDOS_SUPER_MAGIC:     {"vfat", "it keeps no owners and modes"},
}

func (h Host) disk() []Result {
	dir := filepath.Clean(h.DataRoot)
	for !exists(dir) && dir != "/" {
		dir = filepath.Dir(dir)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return []Result{{Check: "disk", Status: Problem, Found: dir + ": " + err.Error(), Do: "look at the mount"}}
	}
	kind, known := kinds[st.Type]
	if !known {
		kind.name = fmt.Sprintf("of kind %#x", st.Type)
	}
	all := []Result{
		when("file system", kind.name+" at "+dir, kind.bad == "", Warning, kind.bad+"; put --data-root on ext4, xfs or btrfs"),
		share("disk space", "bytes", uint64(st.Bsize)*st.Bavail, uint64(st.Bsize)*st.Blocks),
	}
	if st.Files > 0 {
		all = append(all, share("inodes", "inodes", st.Ffree, st.Files))
	}
	return all
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// The shares, in percent, below which little is left.
const (
	littleLeft     = 10
	nextToNothing  = 2
	plentyOfBytes  = 50 << 30
	plentyOfInodes = 1 << 20
)

func share(check, unit string, free, all uint64) Result {
	percent := free * 100 / max(all, 1)
	found := fmt.Sprintf("%d %% free: %d %s of %d", percent, free, unit, all)
	plenty := uint64(plentyOfBytes)
	if unit == "inodes" {
		plenty = plentyOfInodes
	}
	const do = "hoy system df; hoy system prune"
	if percent < nextToNothing && free < plenty {
		return Result{Check: check, Status: Problem, Found: found, Do: do}
	}
	return when(check, found, percent >= littleLeft || free >= plenty, Warning, do)
}

func (h Host) clock() []Result {
	var tx unix.Timex
	state, err := unix.Adjtimex(&tx)
	now := time.Now()
	if info, err := os.Stat(h.DataRoot); err == nil && info.ModTime().After(now.Add(time.Minute)) {
		return []Result{{Check: "clock", Status: Problem, Found: now.Format(time.RFC3339) + ", but the data root was changed at " + info.ModTime().Format(time.RFC3339),
			Do: "set the clock: it has jumped back, and times in logs and events are wrong"}}
	}
	if now.Year() < 2024 {
		return []Result{{Check: "clock", Status: Problem, Found: now.Format(time.RFC3339), Do: "set the clock: certificates of registries are not valid yet"}}
	}
	found := "synchronised"
	if err != nil || state == unix.TIME_ERROR {
		found = "not synchronised"
	}
	return []Result{when("clock", found, found == "synchronised", Warning, "timedatectl set-ntp true, or run chrony")}
}

// engines are others, by their bridges and by the sockets that are there while they run.
var engines = []struct{ name, bridge, socket string }{
	{"Docker", "docker0", "/run/docker.sock"}, {"podman", "podman0", "/run/podman/podman.sock"},
	{"Kubernetes", "cni0", "/run/containerd/containerd.sock"},
}

func (h Host) others() (all []Result) {
	for _, o := range engines {
		bridge, runs := exists(h.Root+"/sys/class/net/"+o.bridge), exists(h.Root+o.socket)
		switch {
		case bridge && !runs:
			all = append(all, Result{Check: "leftovers", Status: Warning, Found: fmt.Sprintf("the bridge %s, and %s does not run", o.bridge, o.name),
				Do: "ip link delete " + o.bridge + ", if nothing uses it: its addresses are not given to containers"})
		case runs:
			all = append(all, Result{Check: "beside", Status: OK, Found: o.name + " is here too"})
		}
	}
	if len(all) == 0 {
		all = append(all, Result{Check: "leftovers", Status: OK, Found: "none"})
	}
	if call, ok := h.read("/proc/sys/net/bridge/bridge-nf-call-iptables"); ok && strings.TrimSpace(call) == "1" {
		all = append(all, Result{Check: "bridged packets", Status: OK, Found: "go through the host's firewall (bridge-nf-call-iptables)"})
	}
	return all
}
