package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/errdefs"
)

const userAgent = "hoy (container engine)"

// maxAnswer bounds a JSON answer of a registry, in bytes.
const maxAnswer = 4 << 20

// HTMLError is what a web page in place of a registry's answer becomes.
type HTMLError struct{ host string }

func (e *HTMLError) Error() string {
	return fmt.Sprintf("%s returned an HTML page; is this a registry? Check the name, and any proxy or login page in between", e.host)
}

// checked refuses web pages that pretend to be a registry's success.
type checked struct{ next http.RoundTripper }

func (t *checked) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.next.RoundTrip(r)
	if err != nil || resp.StatusCode >= 300 {
		return resp, err
	}
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if kind == "text/html" || kind == "application/xhtml+xml" {
		_ = resp.Body.Close()
		return nil, &HTMLError{host: r.URL.Host}
	}
	return resp, nil
}

// redirect follows a registry to where it keeps its blobs. Credentials go only
// to exactly the host they were made for; net/http itself would also send them
// to another port of the same host, and from https to http.
func (c *Client) redirect(req *http.Request, via []*http.Request) error {
	if len(via) >= 10 {
		return errors.New("stopped after 10 redirects")
	}
	first := via[0].URL
	if req.URL.Host != first.Host || (req.URL.Scheme != "https" && !c.insecure(first.Host)) {
		req.Header.Del("Authorization")
	}
	return nil
}

// sameHost keeps the requests of a token server, which carry passwords, there.
func sameHost(req *http.Request, via []*http.Request) error {
	if len(via) >= 10 {
		return errors.New("stopped after 10 redirects")
	}
	if req.URL.Host != via[0].URL.Host || req.URL.Scheme != via[0].URL.Scheme {
		return fmt.Errorf("token server %s redirects to another host, %s", via[0].URL.Host, req.URL.Host)
	}
	return nil
}

// tokenTransport reaches token servers. Passwords go over plain HTTP only to
// hosts that are loopback or listed as insecure.
type tokenTransport struct{ c *Client }

func (t *tokenTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	insecure := t.c.insecure(r.URL.Host)
	if r.URL.Scheme != "https" && !insecure {
		return nil, fmt.Errorf("token server %s is not reached by https", r.URL.Host)
	}
	if insecure {
		return t.c.open.RoundTrip(r)
	}
	return t.c.secure.RoundTrip(r)
}

// bearer is an authorizer with one fixed token.
type bearer string

func (b bearer) Authorize(_ context.Context, r *http.Request) error {
	r.Header.Set("Authorization", "Bearer "+string(b))
	return nil
}

func (b bearer) AddResponses(context.Context, []*http.Response) error {
	return fmt.Errorf("the registry refuses the token: %w", docker.ErrInvalidAuthorization)
}

// get asks a server for a path and answers its authorization challenge. The
// caller closes the body.
func get(ctx context.Context, h docker.RegistryHost, path string) (*http.Response, error) {
	target := h.Scheme + "://" + h.Host + h.Path + path
	if strings.HasPrefix(path, "http://") || strings.HasPrefix(path, "https://") {
		target = path
	}
	var seen []*http.Response
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
		if err != nil {
			return nil, err
		}
		req.Header.Set("User-Agent", userAgent)
		if err := h.Authorizer.Authorize(ctx, req); err != nil {
			return nil, err
		}
		resp, err := h.Client.Do(req)
		if err != nil {
			return nil, err
		}
		if resp.StatusCode != http.StatusUnauthorized || len(seen) >= 2 {
			return resp, nil
		}
		_ = resp.Body.Close()
		seen = append(seen, resp)
		if err := h.Authorizer.AddResponses(ctx, seen); err != nil {
			if errdefs.IsNotImplemented(err) {
				return resp, nil
			}
			return nil, err
		}
	}
}

// Tags lists the tags of a repository.
func (s *Session) Tags(ctx context.Context, repository string) ([]string, error) {
	h := s.hosts[len(s.hosts)-1]
	ctx = docker.WithScope(ctx, "repository:"+repository+":pull")
	var all []string
	path := "/" + repository + "/tags/list"
	for pages := 0; path != ""; pages++ {
		if pages > 1000 {
			return nil, fmt.Errorf("registry %s has no end of tags of %s", s.host, repository)
		}
		var page struct {
			Tags []string `json:"tags"`
		}
		resp, err := get(ctx, h, path)
		if err != nil {
			return nil, err
		}
		if resp.StatusCode != http.StatusOK {
			_ = resp.Body.Close()
			return nil, statusError(resp)
		}
		err = json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&page)
		_ = resp.Body.Close()
		if err != nil {
			return nil, fmt.Errorf("registry %s: list of tags is not valid JSON: %w", s.host, err)
		}
		all = append(all, page.Tags...)
		path, err = nextPage(resp)
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// nextPage reads the Link header; it must stay on the same server.
func nextPage(resp *http.Response) (string, error) {
	link := resp.Header.Get("Link")
	begin, end := strings.IndexByte(link, '<'), strings.IndexByte(link, '>')
	if begin < 0 || end < begin || !strings.Contains(link, "next") {
		return "", nil
	}
	u, err := url.Parse(link[begin+1 : end])
	if err != nil {
		return "", err
	}
	next := resp.Request.URL.ResolveReference(u)
	if next.Host != resp.Request.URL.Host {
		return "", fmt.Errorf("registry %s sends the list of tags to another host, %s", resp.Request.URL.Host, next.Host)
	}
	return next.String(), nil
}
