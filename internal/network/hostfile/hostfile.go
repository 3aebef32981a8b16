// Package hostfile writes the three files by which a container knows names:
// /etc/hosts, /etc/hostname and /etc/resolv.conf.
package hostfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
)

// maxBytes bounds what is read of the host's own files.
const maxBytes = 1 << 20

// Names is what /etc/hosts and /etc/hostname say.
type Names struct {
	Hostname, Domainname string
	// Address is the container's own; where it is not valid there is no line for it.
	Address netip.Addr
	// Extra are "name:address" or "name=address"; the address may be
	// "host-gateway", for which Gateway is put.
	Extra   []string
	Gateway netip.Addr
	// OfHost starts from the host's own file, as for a container that shares its network.
	OfHost bool
}

// Hosts renders /etc/hosts.
func Hosts(n Names) ([]byte, error) {
	var b bytes.Buffer
	if n.OfHost {
		data, err := readBounded("/etc/hosts")
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
		b.Write(data)
		if len(data) > 0 && data[len(data)-1] != '\n' {
			b.WriteByte('\n')
		}
	} else {
		b.WriteString("127.0.0.1\tlocalhost\n" +
			"::1\tlocalhost ip6-localhost ip6-loopback\n" +
			"fe00::\tip6-localnet\n" +
			"ff00::\tip6-mcastprefix\n" +
			"ff02::1\tip6-allnodes\n" +
			"ff02::2\tip6-allrouters\n")
	}
	for _, line := range n.Extra {
		host, addr, err := ParseExtra(line, n.Gateway)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "%s\t%s\n", addr, host)
	}
	b.WriteString(n.own())
	return b.Bytes(), nil
}

// own is the line of the container's own address; empty where it has none.
func (n Names) own() string {
	if !n.Address.IsValid() || n.Hostname == "" {
		return ""
	}
	names := n.Hostname
	if n.Domainname != "" {
		names = n.Hostname + "." + n.Domainname + " " + n.Hostname
	}
	return n.Address.String() + "\t" + names + "\n"
}

// Readdress gives the hosts file of a container that runs another line for its
// own address: that of old goes, and n's comes where it has one. What the
// container itself wrote stays; a file that it made too large is left alone.
func Readdress(dir string, n Names, old netip.Addr) error {
	path := filepath.Join(dir, "hosts")
	data, err := readBounded(path)
	if err != nil {
		return fmt.Errorf("read container's hosts: %w", err)
	}
	if len(data) == maxBytes {
		return nil
	}
	gone := Names{Hostname: n.Hostname, Domainname: n.Domainname, Address: old}.own()
	if gone != "" {
		data = bytes.Replace(data, []byte(gone), nil, 1)
	}
	data = append(data, n.own()...)
	if err := os.WriteFile(path, data, 0o644); err != nil { //nolint:forbidigo // a bind mount shows this inode
		return fmt.Errorf("write container's hosts: %w", err)
	}
	return nil
}

// ParseExtra splits one value of --add-host. Errors are errdefs.ErrInvalidArgument.
func ParseExtra(line string, gateway netip.Addr) (name string, addr netip.Addr, err error) {
	name, value, ok := strings.Cut(line, "=")
	if !ok {
		name, value, ok = strings.Cut(line, ":")
	}
	if !ok || name == "" || strings.ContainsAny(name, " \t\r\n#") {
		return "", addr, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("bad format for add-host: %q", line))
	}
	if value == "host-gateway" {
		if !gateway.IsValid() {
			return "", addr, errdefs.ErrInvalidArgument.WithMessage("unable to derive the IP value for host-gateway: the default bridge is disabled")
		}
		return name, gateway, nil
	}
	value = strings.TrimSuffix(strings.TrimPrefix(value, "["), "]")
	addr, err = netip.ParseAddr(value)
	if err != nil || addr.Zone() != "" {
		return "", addr, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("invalid IP address in add-host: %q", value))
	}
	return name, addr, nil
}

// Resolver is what a person asked /etc/resolv.conf to say. What is empty comes from the host's file.
type Resolver struct {
	Servers         []netip.Addr
	Search, Options []string
	// Local keeps servers that only the host's own network reaches: those on
	// loopback addresses and, as containers have no other, those of IPv6.
	Local bool
}

// fallback serves where the host names no server that a container can reach.
var fallback = []netip.Addr{netip.MustParseAddr("8.8.8.8"), netip.MustParseAddr("8.8.4.4")}

// HostResolvers are the files that may hold the host's resolver settings: where
// the first has only a stub on loopback, systemd-resolved keeps the servers
// behind it in the second.
var HostResolvers = []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"}

// Resolv renders /etc/resolv.conf.
func Resolv(r Resolver) ([]byte, error) {
	host, usable, err := hostResolver(r.Local)
	if err != nil {
		return nil, err
	}
	servers := r.Servers
	if len(servers) == 0 {
		servers = usable
	}
	search, options := host.search, host.options
	if len(r.Search) > 0 {
		search = r.Search
	}
	if len(search) == 1 && search[0] == "." {
		search = nil
	}
	if len(r.Options) > 0 {
		options = r.Options
	}
	var b bytes.Buffer
	for _, s := range servers {
		fmt.Fprintf(&b, "nameserver %s\n", s)
	}
	for _, line := range []struct {
		key    string
		values []string
	}{{"search", search}, {"options", options}} {
		if slices.ContainsFunc(line.values, func(v string) bool { return v == "" || strings.ContainsAny(v, " \t\r\n") }) {
			return nil, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("invalid value in the DNS %s list: %q", line.key, line.values))
		}
		if len(line.values) > 0 {
			fmt.Fprintf(&b, "%s %s\n", line.key, strings.Join(line.values, " "))
		}
	}
	return b.Bytes(), nil
}

// Nameservers lists all servers the host's files name.
func Nameservers() []netip.Addr {
	var all []netip.Addr
	for _, path := range HostResolvers {
		if data, err := readBounded(path); err == nil {
			all = append(all, parseResolv(data).servers...)
		}
	}
	return all
}

func hostResolver(local bool) (conf resolvConf, usable []netip.Addr, err error) {
	for i, path := range HostResolvers {
		data, err := readBounded(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return conf, nil, err
		}
		read := parseResolv(data)
		if i == 0 {
			conf = read
		}
		for _, s := range read.servers {
			if local || (s.Is4() && !s.IsLoopback()) {
				usable = append(usable, s)
			}
		}
		if len(usable) > 0 {
			return read, usable, nil
		}
	}
	return conf, fallback, nil
}

type resolvConf struct {
	servers         []netip.Addr
	search, options []string
}

// parseResolv reads resolv.conf(5): the last search or domain line counts, options add up.
func parseResolv(data []byte) resolvConf {
	var c resolvConf
	for line := range strings.Lines(string(data)) {
		if i := strings.IndexAny(line, "#;"); i >= 0 {
			line = line[:i]
		}
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "nameserver":
			if a, err := netip.ParseAddr(f[1]); err == nil {
				c.servers = append(c.servers, a)
			}
		case "search", "domain":
			c.search = f[1:]
		case "options":
			c.options = append(c.options, f[1:]...)
		}
	}
	return c
}

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxBytes))
}

// Write puts the three files in dir. A file that exists keeps its inode, so that
// a bind mount of it shows the new content.
func Write(dir string, n Names, r Resolver) error {
	hosts, err := Hosts(n)
	if err != nil {
		return err
	}
	resolv, err := Resolv(r)
	if err != nil {
		return err
	}
	name := n.Hostname
	if n.Domainname != "" {
		name += "." + n.Domainname
	}
	for file, data := range map[string][]byte{"hosts": hosts, "hostname": []byte(name + "\n"), "resolv.conf": resolv} {
		if err := os.WriteFile(filepath.Join(dir, file), data, 0o644); err != nil { //nolint:forbidigo // a bind mount shows this inode; it is written anew at each start
			return fmt.Errorf("write container's %s: %w", file, err)
		}
	}
	return nil
}
