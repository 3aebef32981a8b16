package image

import (
	"context"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/image"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"hoy/internal/image/store"
)

// Inspect tells all about one image.
func (s *Service) Inspect(ctx context.Context, ref string, platform *ocispec.Platform, manifests bool) (*image.InspectResponse, error) {
	g, _, err := s.find(ctx, ref)
	if err != nil {
		return nil, err
	}
	m, err := s.selectManifest(ctx, g, ref, platform)
	if err != nil {
		return nil, err
	}
	z, err := s.sizes(ctx, g.target)
	if err != nil {
		return nil, err
	}
	target, cfg := g.target, m.Config.Config
	resp := &image.InspectResponse{
		ID: g.id(), RepoTags: g.repoTags(), RepoDigests: g.repoDigests(),
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
	for _, r := range g.records {
		if !isDangling(r.Name) && r.UpdatedAt.After(resp.Metadata.LastTagTime) {
			resp.Metadata.LastTagTime = r.UpdatedAt
		}
	}
	if manifests && platform == nil {
		if resp.Manifests, err = s.manifests(ctx, g, s.usesByImage()[g.id()]); err != nil {
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
func (s *Service) History(ctx context.Context, ref string, platform *ocispec.Platform) ([]*image.HistoryResponseItem, error) {
	g, _, err := s.find(ctx, ref)
	if err != nil {
		return nil, err
	}
	m, err := s.selectManifest(ctx, g, ref, platform)
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
				return nil, errdefs.ErrInvalidArgument.WithMessage("image " + short(g.id()) + " is damaged: its history names more layers than it has")
			}
			layer++
			size, err := s.store.ChainSize(ctx, identity.ChainID(diffs[:layer]))
			if err != nil && !errdefs.IsNotFound(err) {
				return nil, err
			}
			item.Size = size
		}
		items = append([]*image.HistoryResponseItem{item}, items...)
	}
	if len(items) > 0 {
		items[0].ID = g.id()
		items[0].Tags = g.repoTags()
		if len(items[0].Tags) == 0 {
			items[0].Tags = nil
		}
	}
	return items, nil
}

func attestationFor(d ocispec.Descriptor) digest.Digest {
	return digest.Digest(d.Annotations["vnd.docker.reference.digest"])
}
