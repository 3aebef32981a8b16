package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/moby/moby/client"

	"hoy/internal/version"
)

// DefaultHost is where the daemon listens when nothing else is said.
const DefaultHost = "unix:///run/hoy.sock"

// mergeHeader asks for log frames that hold several lines, which are read in half
// the time.
const mergeHeader = "X-Hoy-Merge-Logs"

// Host returns the address of the daemon: --host, HOY_HOST, DOCKER_HOST, then
// [DefaultHost], in the form scheme://address.
func (a *App) Host() (string, error) {
	for _, host := range []string{a.Global.Host, os.Getenv("HOY_HOST"), os.Getenv("DOCKER_HOST")} {
		if host = strings.TrimSpace(host); host != "" {
			return ParseHost(host, a.useTLS())
		}
	}
	return DefaultHost, nil
}

// ParseHost completes and checks the address of a daemon: unix:///path,
// tcp://host[:port], host:port, or the absolute path of a socket. The default
// port is 2375, with TLS 2376.
func ParseHost(host string, tls bool) (string, error) {
	bad := func(why string) error {
		return fmt.Errorf("invalid host %q: %s (expected unix:///path/to/socket or tcp://host:port)", host, why)
	}
	scheme, addr, ok := strings.Cut(host, "://")
	switch {
	case !ok && strings.HasPrefix(host, "/"):
		scheme, addr = "unix", host
	case !ok:
		scheme, addr = "tcp", host
	}
	switch scheme {
	case "unix":
		if addr == "" {
			return DefaultHost, nil
		}
		if !strings.HasPrefix(addr, "/") {
			return "", bad("the path of a socket must be absolute")
		}
		return "unix://" + addr, nil
	case "tcp", "http", "https":
		addr, path, _ := strings.Cut(addr, "/")
		if addr == "" {
			return "", bad("no address")
		}
		if _, _, err := net.SplitHostPort(addr); err != nil {
			port := "2375"
			if tls {
				port = "2376"
			}
			addr = net.JoinHostPort(strings.Trim(addr, "[]"), port)
		}
		if path != "" {
			addr += "/" + path
		}
		return "tcp://" + addr, nil
	default:
		return "", bad(fmt.Sprintf("the scheme %q is not supported", scheme))
	}
}

func (a *App) newClient() (client.APIClient, error) {
	host, err := a.Host()
	if err != nil {
		return nil, err
	}
	// Attach takes a connection over, which HTTP/2 has no way for. A transport that may try it gives
	// itself a TLS configuration, and the client then takes any daemon for one with TLS.
	only1 := new(http.Protocols)
	only1.SetHTTP1(true)
	transport := &http.Transport{MaxIdleConns: 6, IdleConnTimeout: 30 * time.Second, Protocols: only1}
	if a.useTLS() && strings.HasPrefix(host, "tcp://") {
		if transport.TLSClientConfig, err = a.tlsConfig(); err != nil {
			return nil, err
		}
	}
	opts := []client.Opt{
		client.WithHTTPClient(&http.Client{Transport: transport, CheckRedirect: client.CheckRedirect}),
		client.WithHost(host),
		client.WithAPIVersionFromEnv(),
		client.WithUserAgent("hoy/" + version.Version),
	}
	// The client has headers for all requests only; other requests than that of
	// logs, and other daemons, do not look at this one.
	headers := map[string]string{mergeHeader: "1"}
	maps.Copy(headers, a.Settings().HTTPHeaders)
	opts = append(opts, client.WithHTTPHeaders(headers))
	return client.New(opts...)
}

func (a *App) verifyTLS() bool {
	return a.Global.TLSVerify || os.Getenv("HOY_TLS_VERIFY") != "" || os.Getenv("DOCKER_TLS_VERIFY") != ""
}

func (a *App) useTLS() bool { return a.Global.TLS || a.verifyTLS() }

func (a *App) tlsConfig() (*tls.Config, error) {
	dir := os.Getenv("HOY_CERT_PATH")
	if dir == "" {
		dir = os.Getenv("DOCKER_CERT_PATH")
	}
	if dir == "" {
		dir = a.ConfigDir()
	}
	file := func(flag, name string) (string, bool) {
		if flag != "" {
			return flag, true
		}
		path := filepath.Join(dir, name)
		_, err := os.Stat(path)
		return path, err == nil
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: !a.verifyTLS()}
	if ca, ok := file(a.Global.TLSCACert, "ca.pem"); ok && a.verifyTLS() {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, fmt.Errorf("failed to read the CA certificate: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("failed to read the CA certificate: %s holds no PEM certificate", ca)
		}
	}
	cert, haveCert := file(a.Global.TLSCert, "cert.pem")
	key, haveKey := file(a.Global.TLSKey, "key.pem")
	if haveCert && haveKey {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("failed to load the client certificate: %w", err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}

// explainConnection says why the daemon does not answer and what to do. The
// client's error has lost the cause, so the address is dialled once more.
func (a *App) explainConnection(err error) error {
	host, herr := a.Host()
	if herr != nil {
		return herr
	}
	scheme, path, _ := strings.Cut(host, "://")
	address, _, _ := strings.Cut(path, "/")
	if scheme == "unix" {
		address = path
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	conn, derr := new(net.Dialer).DialContext(ctx, scheme, address)
	switch {
	case derr == nil:
		_ = conn.Close() // it listens; what went wrong came after
		return fmt.Errorf("the daemon at %s does not answer as expected: %w", host, err)
	case scheme != "unix":
		return fmt.Errorf("Cannot connect to the hoy daemon at %s. Is it running? (%w)", host, derr) //nolint:staticcheck // users know this sentence
	case errors.Is(derr, fs.ErrPermission):
		return fmt.Errorf("permission denied while trying to connect to the hoy daemon at %s. "+
			"Use sudo, or join the group that owns the socket: sudo usermod -aG %s $USER, then log in again", host, socketGroup(path))
	case errors.Is(derr, fs.ErrNotExist), errors.Is(derr, syscall.ECONNREFUSED):
		return fmt.Errorf("Cannot connect to the hoy daemon at %s. Is it running? Start it with: sudo hoyd   (or: make demo)", host) //nolint:staticcheck // users know this sentence
	default:
		return fmt.Errorf("Cannot connect to the hoy daemon at %s: %w", host, derr) //nolint:staticcheck // users know this sentence
	}
}
