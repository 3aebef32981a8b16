package view

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/moby/moby/api/types/image"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"hoy/internal/image/catalog"
	"hoy/internal/image/store"
)

// Inspect tells all about one image.
func (v *Images) Inspect(ctx context.Context, ref string, platform *ocispec.Platform, manifests bool) (*image.InspectResponse, error) {
	g, _, err := v.Names.Find(ctx, ref)
	if err != nil {
		return nil, err
	}
	m, err := v.Manifest(ctx, g, ref, platform)
	if err != nil {
		return nil, err
	}
	z, err := v.Sizes(ctx, g.Target)
	if err != nil {
		return nil, err
	}
	target, cfg := g.Target, m.Config.Config
	resp := &image.InspectResponse{
		ID: g.ID(), RepoTags: g.RepoTags(), RepoDigests: g.RepoDigests(),
		Comment: comment(m), Author: m.Config.Author, Config: &cfg,
		Architecture: m.Config.Architecture, Variant: m.Config.Variant, Os: m.Config.OS, OsVersion: m.Config.OSVersion,
		Size: z.Content() + z.Unpacked(), Descriptor: &target,
		RootFS: image.RootFS{Type: m.Config.RootFS.Type},
	}
	if t := m.Config.Created; t != nil {
		resp.Created = t.Format(time.RFC3339Nano)
	}
	for _, d := range m.Config.RootFS.DiffIDs {
		resp.RootFS.Layers = append(resp.RootFS.Layers, d.String())
	}
	for _, r := range g.Records {
		if !catalog.IsDangling(r.Name) && r.UpdatedAt.After(resp.Metadata.LastTagTime) {
			resp.Metadata.LastTagTime = r.UpdatedAt
		}
	}
	if manifests && platform == nil {
		if resp.Manifests, err = v.manifests(ctx, g, v.Users()[g.ID()]); err != nil {
			return nil, err
		}
	}
	return resp, nil
}

// comment is that of the last step of the image's history.
func comment(m *store.Manifest) string {
	if n := len(m.Config.History); n > 0 {
		return m.Config.History[n-1].Comment
	}
	return ""
}

// History tells how an image was made, last step first.
func (v *Images) History(ctx context.Context, ref string, platform *ocispec.Platform) ([]*image.HistoryResponseItem, error) {
	g, _, err := v.Names.Find(ctx, ref)
	if err != nil {
		return nil, err
	}
	m, err := v.Manifest(ctx, g, ref, platform)
	if err != nil {
		return nil, err
	}
	diffs := m.Config.RootFS.DiffIDs
	items := make([]*image.HistoryResponseItem, 0, len(m.Config.History))
	layer := 0
	for _, h := range m.Config.History {
		item := &image.HistoryResponseItem{ID: "<missing>", Comment: h.Comment, CreatedBy: h.CreatedBy}
		if h.Created != nil {
			item.Created = h.Created.Unix()
		}
		if !h.EmptyLayer {
			if layer >= len(diffs) {
				return nil, errdefs.ErrInvalidArgument.WithMessage("image " + catalog.Short(g.ID()) + " is damaged: its history names more layers than it has")
			}
			layer++
			size, err := v.Store.ChainSize(ctx, identity.ChainID(diffs[:layer]))
			if err != nil && !errdefs.IsNotFound(err) {
				return nil, err
			}
			item.Size = size
		}
		items = append([]*image.HistoryResponseItem{item}, items...)
	}
	if len(items) > 0 {
		items[0].ID = g.ID()
		items[0].Tags = g.RepoTags()
		if len(items[0].Tags) == 0 {
			items[0].Tags = nil
		}
	}
	return items, nil
}

func attestationFor(d ocispec.Descriptor) digest.Digest {
	return digest.Digest(d.Annotations["vnd.docker.reference.digest"])
}

// Manifest chooses of an image the one for the platform; nil is the host's
// where it is there, else any.
func (v *Images) Manifest(ctx context.Context, g *catalog.Group, ref string, platform *ocispec.Platform) (*store.Manifest, error) {
	m, err := v.Store.Select(ctx, g.Target, platform)
	if errdefs.IsNotFound(err) && platform != nil {
		return nil, errdefs.ErrNotFound.WithMessage(fmt.Sprintf(
			"image with reference %s was found but does not provide the specified platform (%s)", ref, platforms.FormatAll(*platform)))
	}
	return m, err
}

// Sizes counts what is here below the descriptors, each blob and layer once.
func (v *Images) Sizes(ctx context.Context, descs ...ocispec.Descriptor) (*store.Sizes, error) {
	z := store.NewSizes()
	for _, d := range descs {
		if err := v.Store.Add(ctx, z, d); err != nil {
			return nil, fmt.Errorf("image %s: size: %w", d.Digest, err)
		}
	}
	return z, nil
}
