package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/registry"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"hoy/internal/image/store"
)

// loginTimeout bounds one check of credentials.
const loginTimeout = 60 * time.Second

// Login checks the credentials against the registry's base path. Wrong ones are
// errdefs.ErrUnauthenticated.
func (c *Client) Login(ctx context.Context, auth registry.AuthConfig) (registry.AuthResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, loginTimeout)
	defer cancel()
	host := loginHost(auth.ServerAddress)
	s, err := c.Open(host, &auth)
	if err != nil {
		return registry.AuthResponse{}, err
	}
	resp, err := get(ctx, s.hosts[len(s.hosts)-1], "/")
	if err != nil {
		return registry.AuthResponse{}, loginError(host, err)
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusOK:
		return registry.AuthResponse{Status: "Login Succeeded", IdentityToken: s.auth.IdentityToken}, nil
	case resp.StatusCode == http.StatusUnauthorized, resp.StatusCode == http.StatusForbidden:
		return registry.AuthResponse{}, unauthorized(host, nil)
	}
	return registry.AuthResponse{}, Said(errdefs.ErrUnavailable, nil, "login attempt to https://%s/v2/ failed with status: %s", host, resp.Status)
}

func loginError(host string, err error) error {
	if html, ok := errors.AsType[*HTMLError](err); ok {
		return Said(errdefs.ErrInvalidArgument, err, "registry %v", html)
	}
	status, answered := ErrorStatus(err)
	if errors.Is(err, docker.ErrInvalidAuthorization) || (answered && (status == http.StatusUnauthorized || status == http.StatusForbidden || status == http.StatusBadRequest)) {
		return unauthorized(host, err)
	}
	return Said(errdefs.ErrUnavailable, err, "login to %s: %v", host, err)
}

func unauthorized(host string, cause error) error {
	return Said(errdefs.ErrUnauthenticated, cause, "Get \"https://%s/v2/\": unauthorized: incorrect username or password", host)
}

// loginHost is the registry that an address in any of its historic forms means.
func loginHost(address string) string {
	address = strings.TrimPrefix(strings.TrimPrefix(address, "https://"), "http://")
	host, _, _ := strings.Cut(address, "/")
	switch host {
	case "", "index.docker.io", hub, hubHost:
		return hub
	}
	return host
}

// Inspect asks a registry what a name points at and for which platforms it is.
func (c *Client) Inspect(ctx context.Context, ref reference.Named, auth *registry.AuthConfig) (registry.DistributionInspect, error) {
	out, err := c.inspect(ctx, ref, auth)
	return out, Explain(ref, "pull", err)
}

func (c *Client) inspect(ctx context.Context, ref reference.Named, auth *registry.AuthConfig) (out registry.DistributionInspect, err error) {
	s, err := c.Open(HostOf(ref), auth)
	if err != nil {
		return out, err
	}
	resolver := s.Resolver()
	if _, out.Descriptor, err = resolver.Resolve(ctx, ref.String()); err != nil {
		return out, err
	}
	from, err := resolver.Fetcher(ctx, ref.String())
	if err != nil {
		return out, err
	}
	read := func(desc ocispec.Descriptor, v any) error {
		rc, err := from.Fetch(ctx, desc)
		if err != nil {
			return err
		}
		defer rc.Close()
		data, err := io.ReadAll(io.LimitReader(rc, store.MaxDocument+1))
		if err != nil {
			return err
		}
		if desc.Digest.Validate() != nil || desc.Digest.Algorithm().FromBytes(data) != desc.Digest {
			return Said(errdefs.ErrInvalidArgument, ErrWrongContent, "registry sent wrong content for %s", desc.Digest)
		}
		if err := json.Unmarshal(data, v); err != nil {
			return Said(errdefs.ErrInvalidArgument, err, "%s is not valid JSON: %v", desc.Digest, err)
		}
		return nil
	}
	if images.IsIndexType(out.Descriptor.MediaType) {
		var index ocispec.Index
		if err := read(out.Descriptor, &index); err != nil {
			return out, err
		}
		for _, m := range index.Manifests {
			if m.Platform != nil {
				out.Platforms = append(out.Platforms, *m.Platform)
			}
		}
		return out, nil
	}
	if !images.IsManifestType(out.Descriptor.MediaType) {
		return out, Said(errdefs.ErrInvalidArgument, nil, "unsupported manifest media type %q", out.Descriptor.MediaType)
	}
	var m ocispec.Manifest
	if err := read(out.Descriptor, &m); err != nil {
		return out, err
	}
	var img ocispec.Image
	if err := read(m.Config, &img); err != nil {
		return out, fmt.Errorf("configuration: %w", err)
	}
	out.Platforms = []ocispec.Platform{platforms.Normalize(img.Platform)}
	return out, nil
}
