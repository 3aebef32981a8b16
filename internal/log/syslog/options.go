// Package syslog sends entries of a log to a syslog server: over a unix socket,
// UDP, TCP or TLS, in the formats that Docker's driver knows.
package syslog

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/docker/go-connections/tlsconfig"
)

const (
	secure      = "tcp+tls"
	defaultPort = "514"
)

// facilities are numbered as in RFC 5424; 12 to 15 have no name in Docker.
var facilities = map[string]int{
	"kern": 0, "user": 1, "mail": 2, "daemon": 3, "auth": 4, "syslog": 5, "lpr": 6, "news": 7, "uucp": 8, "cron": 9,
	"authpriv": 10, "ftp": 11, "local0": 16, "local1": 17, "local2": 18, "local3": 19, "local4": 20, "local5": 21,
	"local6": 22, "local7": 23,
}

// Options are a driver's options, checked.
type Options struct {
	// Network is "" for the host's own log, or unix, unixgram, udp, tcp, tcp+tls.
	Network, Address string
	Facility         int
	Format           string
	TLS              *tls.Config
}

// Parse checks options in Docker's words.
func Parse(opts map[string]string) (o Options, err error) {
	if o.Network, o.Address, err = parseAddress(opts["syslog-address"]); err != nil {
		return o, err
	}
	if o.Facility, err = parseFacility(opts["syslog-facility"]); err != nil {
		return o, err
	}
	o.Format = opts["syslog-format"]
	if _, ok := formats[o.Format]; !ok {
		return o, errors.New("invalid syslog format")
	}
	if o.Network != secure {
		return o, nil
	}
	// Docker takes any value for yes; here false is no.
	skip, given := opts["syslog-tls-skip-verify"]
	yes, err := strconv.ParseBool(skip)
	o.TLS, err = tlsconfig.Client(tlsconfig.Options{
		CAFile: opts["syslog-tls-ca-cert"], CertFile: opts["syslog-tls-cert"], KeyFile: opts["syslog-tls-key"],
		InsecureSkipVerify: given && (yes || err != nil),
	})
	return o, err
}

func parseAddress(address string) (network, addr string, err error) {
	if address == "" {
		return "", "", nil
	}
	u, err := url.Parse(address)
	if err != nil {
		return "", "", err
	}
	switch u.Scheme {
	case "unix", "unixgram":
		if _, err := os.Stat(u.Path); err != nil {
			return "", "", err
		}
		return u.Scheme, u.Path, nil
	case "udp", "tcp", secure:
	default:
		return "", "", fmt.Errorf("unsupported scheme: '%s'", u.Scheme)
	}
	host := u.Host
	if u.Port() == "" && !strings.HasSuffix(host, ":") {
		host = net.JoinHostPort(u.Hostname(), defaultPort)
	}
	if _, _, err := net.SplitHostPort(host); err != nil {
		return "", "", err
	}
	return u.Scheme, host, nil
}

func parseFacility(s string) (int, error) {
	if s == "" {
		return facilities["daemon"], nil
	}
	if n, ok := facilities[s]; ok {
		return n, nil
	}
	if n, err := strconv.Atoi(s); err == nil && 0 <= n && n <= 23 {
		return n, nil
	}
	return 0, errors.New("invalid syslog facility")
}
