// Package remote is the way to a registry: hosts, mirrors, credentials, and what
// its errors mean to people.
package remote

import (
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/registry"
)

// hub is the registry that names without a host mean, and where it is.
const (
	hub     = "docker.io"
	hubHost = "registry-1.docker.io"
)

// Client is how registries are reached. It is safe for concurrent use.
type Client struct {
	insecureHosts map[string]bool
	insecureNets  []netip.Prefix
	mirrors       []*url.URL

	secure, open *http.Transport
	// RetryDelay is the wait before the first new attempt; it doubles.
	RetryDelay time.Duration
}

// NewClient makes a client. An insecure registry is a host, host:port or an
// address range; plain HTTP and unknown certificates are accepted of it, as of
// loopback. A mirror is the base URL of a registry that is asked before Docker
// Hub.
func NewClient(insecure, mirrors []string) (*Client, error) {
	c := &Client{insecureHosts: map[string]bool{}, RetryDelay: 500 * time.Millisecond}
	for _, v := range append([]string{"127.0.0.0/8", "::1/128"}, insecure...) {
		if p, err := netip.ParsePrefix(v); err == nil {
			c.insecureNets = append(c.insecureNets, p)
			continue
		}
		if v == "" || strings.Contains(v, "/") {
			return nil, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("insecure registry %q is not valid: want host, host:port or an address range", v))
		}
		c.insecureHosts[v] = true
	}
	c.insecureHosts["localhost"] = true
	for _, v := range mirrors {
		u, err := url.Parse(v)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
			return nil, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("invalid mirror %q: want a URL as https://mirror.example.com", v))
		}
		c.mirrors = append(c.mirrors, u)
	}
	c.secure = newTransport(nil)
	// Certificates of insecure registries are not checked; that is what the word asks for.
	c.open = newTransport(&tls.Config{InsecureSkipVerify: true}) //nolint:gosec
	return c, nil
}

func newTransport(cfg *tls.Config) *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:       cfg,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: 60 * time.Second,
		IdleConnTimeout:       30 * time.Second,
		MaxIdleConnsPerHost:   8,
		ReadBufferSize:        64 << 10,
		ForceAttemptHTTP2:     true,
	}
}

// insecure says whether plain HTTP is allowed to host ("name" or "name:port").
func (c *Client) insecure(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	if c.insecureHosts[host] || c.insecureHosts[name] {
		return true
	}
	addr, err := netip.ParseAddr(strings.Trim(name, "[]"))
	if err != nil {
		return false
	}
	for _, p := range c.insecureNets {
		if p.Contains(addr.Unmap()) {
			return true
		}
	}
	return false
}

// Session is one operation's way to one registry, with one set of credentials.
type Session struct {
	c    *Client
	host string // as in names: "docker.io", "localhost:5000"
	auth *registry.AuthConfig

	Tracker docker.StatusTrackLocker
	hosts   []docker.RegistryHost
}

// Open begins an operation with one registry; auth may be nil.
func (c *Client) Open(host string, auth *registry.AuthConfig) (*Session, error) {
	s := &Session{c: c, host: host, Tracker: docker.NewInMemoryTracker()}
	if auth != nil {
		plain, err := decodeAuth(*auth)
		if err != nil {
			return nil, err
		}
		s.auth = &plain
	}
	if host == hub {
		for _, m := range c.mirrors {
			s.hosts = append(s.hosts, s.registryHost(m.Host, m.Scheme, m.Path, false))
		}
		s.hosts = append(s.hosts, s.registryHost(hubHost, "https", "", true))
		return s, nil
	}
	s.hosts = []docker.RegistryHost{s.registryHost(host, "https", "", true)}
	return s, nil
}

// registryHost describes one server; only the registry itself, not a mirror,
// gets the credentials and is pushed to.
func (s *Session) registryHost(host, scheme, path string, own bool) docker.RegistryHost {
	var rt http.RoundTripper = s.c.secure
	if s.c.insecure(host) {
		rt = s.c.open
		if scheme == "https" {
			rt = docker.NewHTTPFallback(rt)
		}
	}
	caps := docker.HostCapabilityPull | docker.HostCapabilityResolve
	if own {
		caps |= docker.HostCapabilityPush
	}
	client := &http.Client{Transport: &checked{next: rt}, CheckRedirect: s.c.redirect}
	h := docker.RegistryHost{
		Client: client, Host: host, Scheme: scheme, Path: strings.TrimRight(path, "/") + "/v2", Capabilities: caps,
	}
	if own && s.auth != nil && s.auth.RegistryToken != "" {
		h.Authorizer = bearer(s.auth.RegistryToken)
		return h
	}
	opts := []docker.AuthorizerOpt{
		docker.WithAuthClient(&http.Client{Transport: &tokenTransport{c: s.c}, CheckRedirect: sameHost}),
		docker.WithAuthCreds(func(asked string) (string, string, error) {
			if !own || asked != host || s.auth == nil {
				return "", "", nil
			}
			if s.auth.IdentityToken != "" {
				return "", s.auth.IdentityToken, nil
			}
			return s.auth.Username, s.auth.Password, nil
		}),
	}
	h.Authorizer = docker.NewDockerAuthorizer(opts...)
	return h
}

// Resolver finds, fetches and pushes what names and digests mean there.
func (s *Session) Resolver() remotes.Resolver {
	return docker.NewResolver(docker.ResolverOptions{
		Hosts:   func(string) ([]docker.RegistryHost, error) { return s.hosts, nil },
		Tracker: s.Tracker,
		Headers: http.Header{"User-Agent": {userAgent}},
	})
}

// decodeAuth fills name and password from the older combined field.
func decodeAuth(auth registry.AuthConfig) (registry.AuthConfig, error) {
	if auth.Auth == "" || auth.Username != "" {
		return auth, nil
	}
	raw, err := base64.StdEncoding.DecodeString(auth.Auth)
	user, password, ok := strings.Cut(string(raw), ":")
	if err != nil || !ok {
		return auth, errdefs.ErrInvalidArgument.WithMessage("invalid registry credentials: auth must be base64 of name:password")
	}
	auth.Username, auth.Password = user, strings.TrimRight(password, "\x00")
	return auth, nil
}

// HostOf is the registry in a full name.
func HostOf(ref reference.Named) string { return reference.Domain(ref) }
