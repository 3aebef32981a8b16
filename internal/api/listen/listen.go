// Package listen opens the sockets that the API is served on: unix, TCP with or
// without TLS, and those that systemd hands over.
package listen

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Options say how addresses are opened.
type Options struct {
	// TLS, where not nil, is for every TCP address.
	TLS *tls.Config
	// Group owns unix sockets, by name or number; empty is "docker" where that exists, else root.
	Group string
	// InsecureTCP allows plain TCP on addresses that others can reach.
	InsecureTCP bool
}

// Open opens one address: unix:///path, tcp://host:port, fd:// for all of
// systemd's sockets or fd://NAME for those of one name. An error says what to do.
func Open(address string, opt Options) ([]net.Listener, error) {
	scheme, rest, ok := strings.Cut(address, "://")
	if !ok {
		return nil, fmt.Errorf("invalid host %q: must begin with unix://, tcp:// or fd://", address)
	}
	switch scheme {
	case "unix":
		l, err := openUnix(rest, opt.Group)
		return single(l, err)
	case "tcp":
		l, err := openTCP(rest, opt)
		return single(l, err)
	case "fd":
		return inherited(strings.TrimSuffix(rest, "*"), opt)
	default:
		return nil, fmt.Errorf("invalid host %q: %s:// is not supported; use unix://, tcp:// or fd://", address, scheme)
	}
}

func single(l net.Listener, err error) ([]net.Listener, error) {
	if err != nil {
		return nil, err
	}
	return []net.Listener{l}, nil
}

func openTCP(hostPort string, opt Options) (net.Listener, error) {
	host, port, err := net.SplitHostPort(hostPort)
	if err != nil {
		// A host alone has the port that Docker's clients assume.
		host, port = hostPort, "2375"
		if opt.TLS != nil {
			port = "2376"
		}
		if strings.Contains(hostPort, ":") {
			return nil, fmt.Errorf("invalid host tcp://%s: %w", hostPort, err)
		}
	}
	if host == "" {
		host = "127.0.0.1"
	}
	if opt.TLS == nil && !opt.InsecureTCP && !loopback(host) {
		return nil, plainRefusal(net.JoinHostPort(host, port))
	}
	l, err := listener.Listen(context.Background(), "tcp", net.JoinHostPort(host, port))
	if err != nil {
		return nil, fmt.Errorf("listen on tcp://%s: %w", net.JoinHostPort(host, port), err)
	}
	return guard(l, opt)
}

// guard puts TLS on a TCP listener; without, only this machine may reach it.
func guard(l net.Listener, opt Options) (net.Listener, error) {
	addr, ok := l.Addr().(*net.TCPAddr)
	switch {
	case !ok:
		return l, nil
	case opt.TLS != nil:
		return tls.NewListener(l, opt.TLS), nil
	case !opt.InsecureTCP && !addr.IP.IsLoopback():
		_ = l.Close()
		return nil, plainRefusal(addr.String())
	}
	return l, nil
}

func plainRefusal(address string) error {
	return fmt.Errorf("refusing to serve tcp://%s without TLS: whoever reaches it is root on this machine; use --tlsverify with --tlscacert, --tlscert and --tlskey, or 127.0.0.1, or a unix socket through ssh; --allow-insecure-tcp serves it nevertheless", address)
}

// loopback says whether only this machine reaches host. A name must mean
// nothing but loopback addresses.
func loopback(host string) bool {
	if a, err := netip.ParseAddr(host); err == nil {
		return a.Unmap().IsLoopback()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	all, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil || len(all) == 0 {
		return false
	}
	for _, a := range all {
		if !a.Unmap().IsLoopback() {
			return false
		}
	}
	return true
}

func openUnix(path, group string) (net.Listener, error) {
	if path == "" {
		return nil, errors.New("invalid host unix://: the socket's path is missing")
	}
	gid, err := groupID(group)
	if err != nil {
		return nil, err
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	// From its first moment the socket is nobody else's.
	old := syscall.Umask(0o177)
	l, err := listener.Listen(context.Background(), "unix", path)
	syscall.Umask(old)
	if err != nil {
		return nil, fmt.Errorf("listen on unix://%s: %w", path, err)
	}
	if err := errors.Join(os.Chown(path, 0, gid), os.Chmod(path, 0o660)); err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("listen on unix://%s: %w", path, err)
	}
	return l, nil
}

// groupID finds the group that may use the socket.
func groupID(name string) (int, error) {
	if n, err := strconv.Atoi(name); err == nil && n >= 0 {
		return n, nil
	}
	wanted := name
	if wanted == "" {
		wanted = "docker"
	}
	g, err := user.LookupGroup(wanted)
	if err == nil {
		return strconv.Atoi(g.Gid)
	}
	if name == "" {
		return 0, nil
	}
	return 0, fmt.Errorf("group %q for the socket: %w; create it, or set --group", name, err)
}

// listener opens sockets; that takes no time which a context could cut short.
var listener net.ListenConfig

// removeStale removes a socket that nobody listens on; one in use, and what is no socket, is refused.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("listen on unix://%s: %w", path, err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("listen on unix://%s: the file there is not a socket; remove it or choose another path", path)
	}
	conn, err := (&net.Dialer{Timeout: 2 * time.Second}).DialContext(context.Background(), "unix", path)
	if err == nil {
		_ = conn.Close()
		return fmt.Errorf("listen on unix://%s: another process listens there; stop it or choose another path", path)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("listen on unix://%s: the socket there may be in use: %w", path, err)
	}
	return os.Remove(path)
}

// firstInherited is where systemd's sockets begin, see sd_listen_fds(3).
const firstInherited = 3

func inherited(name string, opt Options) ([]net.Listener, error) {
	if pid, err := strconv.Atoi(os.Getenv("LISTEN_PID")); err != nil || pid != os.Getpid() {
		return nil, errors.New("listen on fd://: no sockets were handed over; start this from a systemd .socket unit, or use another host")
	}
	n, _ := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	names := strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")
	var all []net.Listener
	for i := range n {
		if name != "" && (i >= len(names) || names[i] != name) && strconv.Itoa(firstInherited+i) != name {
			continue
		}
		// The number is ours alone: LISTEN_PID says that it was made for this process.
		f := os.NewFile(uintptr(firstInherited+i), "systemd socket")
		l, err := net.FileListener(f)
		_ = f.Close()
		if err != nil {
			return nil, fmt.Errorf("listen on fd://%s: %w", name, err)
		}
		if l, err = guard(l, opt); err != nil {
			return nil, err
		}
		all = append(all, l)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("listen on fd://%s: no such socket was handed over", name)
	}
	return all, nil
}
