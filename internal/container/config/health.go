package config

import (
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
)

// healthTests are the kinds of health check: Docker's, and those that the
// engine makes itself from inside the network namespace.
var healthTests = []string{"", "NONE", "CMD", "CMD-SHELL", "HTTP", "TCP", "GRPC"}

// maxService bounds the name of a gRPC service to what one byte of length holds.
const maxService = 127

// HealthTarget is what a native health check probes.
type HealthTarget struct {
	// Addr is an IP address and port.
	Addr string
	URL  string
	// HTTP2 without encryption, for gRPC.
	HTTP2 bool
	// Service of gRPC; empty for the server as a whole.
	Service string
}

func checkHealth(h *container.HealthConfig) error {
	if h == nil {
		return nil
	}
	if len(h.Test) > 0 && !slices.Contains(healthTests, h.Test[0]) {
		return invalid("Unknown type %q in Healthcheck (try 'CMD')", h.Test[0])
	}
	if len(h.Test) > 0 && slices.Contains(healthTests[4:], h.Test[0]) {
		if _, err := ParseHealthTarget(h.Test); err != nil {
			return err
		}
	}
	for _, d := range []struct {
		name string
		v    int64
	}{{"Interval", int64(h.Interval)}, {"Timeout", int64(h.Timeout)}, {"StartPeriod", int64(h.StartPeriod)}, {"StartInterval", int64(h.StartInterval)}} {
		if d.v != 0 && d.v < int64(container.MinimumDuration) {
			return invalid("%s in Healthcheck cannot be less than %s", d.name, container.MinimumDuration)
		}
	}
	if h.Retries < 0 {
		return invalid("Retries in Healthcheck cannot be negative")
	}
	return nil
}

// ParseHealthTarget reads the test of a native health check: HTTP with a URL,
// TCP with [HOST:]PORT, GRPC with [HOST:]PORT[/SERVICE]. The host must be an
// address or localhost; where it is missing it is 127.0.0.1.
func ParseHealthTarget(test []string) (HealthTarget, error) {
	if len(test) != 2 || test[1] == "" {
		return HealthTarget{}, invalid("%s in Healthcheck needs one target", test[0])
	}
	var t HealthTarget
	var err error
	switch test[0] {
	case "HTTP":
		return parseHTTP(test[1])
	case "TCP":
		t.Addr, err = healthAddr(test[1], "")
	case "GRPC":
		addr, service, _ := strings.Cut(test[1], "/")
		if len(service) > maxService {
			return t, invalid("gRPC service in Healthcheck is longer than %d bytes", maxService)
		}
		t.HTTP2, t.Service = true, service
		t.Addr, err = healthAddr(addr, "")
		t.URL = "http://" + t.Addr + "/grpc.health.v1.Health/Check"
	}
	return t, err
}

func parseHTTP(raw string) (HealthTarget, error) {
	u, err := url.Parse(raw)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Opaque != "" {
		return HealthTarget{}, invalid("%q in Healthcheck is not a URL of http or https", raw)
	}
	port := "80"
	if u.Scheme == "https" {
		port = "443"
	}
	addr, err := healthAddr(u.Host, port)
	if err != nil {
		return HealthTarget{}, err
	}
	if u.Hostname() == "" {
		u.Host = addr
	}
	return HealthTarget{Addr: addr, URL: u.String()}, nil
}

func healthAddr(s, port string) (string, error) {
	host := s
	if _, err := strconv.Atoi(s); err == nil && port == "" {
		host, port = "", s
	} else if h, p, err := net.SplitHostPort(s); err == nil {
		host, port = h, p
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", invalid("%q in Healthcheck has no port from 1 to 65535", s)
	}
	if host == "" || host == "localhost" {
		host = "127.0.0.1"
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	if err != nil {
		return "", invalid("host %q in Healthcheck must be an IP address or localhost", host)
	}
	return net.JoinHostPort(addr.String(), port), nil
}
