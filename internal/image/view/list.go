// Package view shows images in the shapes of Docker's API.
package view

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/image"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"hoy/internal/filter"
	"hoy/internal/image/catalog"
	"hoy/internal/image/store"
	"hoy/internal/request"
)

// Images is what is shown. Users says, by image id, which containers use it.
type Images struct {
	Store *store.Store
	Names *catalog.Catalog
	Users func() map[string][]string
	Log   *slog.Logger
}

// List gives the images, newest first.
func (v *Images) List(ctx context.Context, opt request.ImageList) ([]*image.Summary, error) {
	groups, err := v.Names.All(ctx)
	if err != nil {
		return nil, err
	}
	match, err := v.Matcher(ctx, opt.Filters)
	if err != nil {
		return nil, err
	}
	uses := v.Users()
	summaries := []*image.Summary{}
	sizes := map[string]*store.Sizes{}
	for _, g := range groups {
		m, err := v.Store.Select(ctx, g.Target, nil)
		if err != nil {
			if !errdefs.IsNotFound(err) {
				v.Log.Warn("image cannot be read; left out of the list", "image", g.ID(), "error", err)
				continue
			}
			m = nil
		}
		if !match(g, m) {
			continue
		}
		z, err := v.Sizes(ctx, g.Target)
		if err != nil {
			v.Log.Warn("image cannot be read; left out of the list", "image", g.ID(), "error", err)
			continue
		}
		sizes[g.ID()] = z
		sum := summary(g, m, z)
		sum.Containers = int64(len(uses[g.ID()]))
		sum.RepoTags = filterTags(sum.RepoTags, opt.Filters)
		if opt.Manifests {
			if sum.Manifests, err = v.manifests(ctx, g, uses[g.ID()]); err != nil {
				return nil, err
			}
		}
		summaries = append(summaries, sum)
	}
	if opt.SharedSize {
		setShared(summaries, sizes)
	}
	slices.SortStableFunc(summaries, func(a, b *image.Summary) int {
		return cmp.Or(cmp.Compare(b.Created, a.Created), cmp.Compare(a.ID, b.ID))
	})
	return summaries, nil
}

func summary(g *catalog.Group, m *store.Manifest, z *store.Sizes) *image.Summary {
	target := g.Target
	sum := &image.Summary{
		ID: g.ID(), RepoTags: g.RepoTags(), RepoDigests: g.RepoDigests(),
		Size: z.Content() + z.Unpacked(), SharedSize: -1, Descriptor: &target, Labels: map[string]string{},
	}
	if m != nil {
		if t := m.Config.Created; t != nil {
			sum.Created = t.Unix()
		}
		if m.Config.Config.Labels != nil {
			sum.Labels = m.Config.Config.Labels
		}
	}
	return sum
}

// setShared fills how much of each image's unpacked layers others have too.
func setShared(summaries []*image.Summary, sizes map[string]*store.Sizes) {
	users := map[string]int{}
	for _, z := range sizes {
		for chain := range z.Chains {
			users[chain.String()]++
		}
	}
	for _, sum := range summaries {
		sum.SharedSize = 0
		for chain, n := range sizes[sum.ID].Chains {
			if users[chain.String()] > 1 {
				sum.SharedSize += n
			}
		}
	}
}

// manifests tells of each entry of an image what is here of it.
func (v *Images) manifests(ctx context.Context, g *catalog.Group, uses []string) ([]image.ManifestSummary, error) {
	descs := []ocispec.Descriptor{g.Target}
	if index, err := v.Store.Index(ctx, g.Target); err != nil {
		return nil, err
	} else if index != nil {
		descs = index
	}
	var out []image.ManifestSummary
	for _, d := range descs {
		ms := image.ManifestSummary{ID: d.Digest.String(), Descriptor: d, Kind: image.ManifestKindUnknown}
		z, err := v.Sizes(ctx, d)
		if err != nil {
			return nil, err
		}
		ms.Size.Content = z.Content()
		ms.Size.Total = z.Content() + z.Unpacked()
		m, err := v.Store.Manifest(ctx, d)
		switch {
		case err == nil && d.Annotations[store.AnnotationReferenceType] == "":
			ms.Kind = image.ManifestKindImage
			ms.Available = v.complete(ctx, m)
			ms.ImageData = &image.ImageProperties{Platform: m.Platform(), Containers: append([]string{}, uses...)}
			ms.ImageData.Size.Unpacked = z.Unpacked()
		case d.Annotations[store.AnnotationReferenceType] == "attestation-manifest":
			ms.Kind = image.ManifestKindAttestation
			ms.Available = err == nil
			ms.AttestationData = &image.AttestationProperties{For: attestationFor(d)}
		case d.Platform != nil:
			ms.Kind = image.ManifestKindImage
			ms.ImageData = &image.ImageProperties{Platform: *d.Platform, Containers: []string{}}
		}
		out = append(out, ms)
	}
	return out, nil
}

// complete says whether all content of one manifest is here.
func (v *Images) complete(ctx context.Context, m *store.Manifest) bool {
	return !slices.ContainsFunc(m.Layers, func(l ocispec.Descriptor) bool { return !v.Store.Has(ctx, l.Digest) })
}

// filterTags keeps of an image's tags those that the reference filter asks for.
func filterTags(tags []string, args filter.Args) []string {
	if !args.Has("reference") {
		return tags
	}
	return slices.DeleteFunc(tags, func(tag string) bool { return !matchReference(args, tag) })
}

func matchReference(args filter.Args, name string) bool {
	ref, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return false
	}
	return args.MatchFunc("reference", func(pattern string) bool {
		ok, err := reference.FamiliarMatch(pattern, ref)
		return err == nil && ok
	})
}

// Matcher makes one test of the filters before, since, until, dangling, label,
// label! and reference.
func (v *Images) Matcher(ctx context.Context, args filter.Args) (func(*catalog.Group, *store.Manifest) bool, error) {
	dangling, err := args.Bool("dangling", false)
	if err != nil {
		return nil, err
	}
	before, err := v.createdOf(ctx, args["before"])
	if err != nil {
		return nil, err
	}
	since, err := v.createdOf(ctx, args["since"])
	if err != nil {
		return nil, err
	}
	until, err := untilTimes(args["until"])
	if err != nil {
		return nil, err
	}
	before = append(before, until...)
	return func(g *catalog.Group, m *store.Manifest) bool {
		names := g.Names()
		if args.Has("dangling") && dangling != (len(names) == 0) {
			return false
		}
		if args.Has("reference") && !slices.ContainsFunc(names, func(n string) bool { return matchReference(args, n) }) {
			return false
		}
		created, labels := time.Time{}, map[string]string(nil)
		if m != nil {
			labels = m.Config.Config.Labels
			if m.Config.Created != nil {
				created = *m.Config.Created
			}
		}
		if !args.MatchLabels("label", labels) || hasAny(labels, args["label!"]) {
			return false
		}
		for _, t := range before {
			if !created.Before(t) {
				return false
			}
		}
		for _, t := range since {
			if !created.After(t) {
				return false
			}
		}
		return true
	}, nil
}

func hasAny(labels map[string]string, wanted []string) bool {
	for _, w := range wanted {
		name, value, hasValue := strings.Cut(w, "=")
		if got, ok := labels[name]; ok && (!hasValue || got == value) {
			return true
		}
	}
	return false
}

func (v *Images) createdOf(ctx context.Context, refs []string) ([]time.Time, error) {
	var times []time.Time
	for _, ref := range refs {
		g, _, err := v.Names.Find(ctx, ref)
		if err != nil {
			return nil, err
		}
		m, err := v.Store.Select(ctx, g.Target, nil)
		if err != nil {
			return nil, err
		}
		if t := m.Config.Created; t != nil {
			times = append(times, *t)
		}
	}
	return times, nil
}

// untilTimes reads points in time: seconds since 1970, RFC 3339 or a duration ago.
func untilTimes(values []string) ([]time.Time, error) {
	var times []time.Time
	for _, v := range values {
		t, err := parseTime(v)
		if err != nil {
			return nil, err
		}
		times = append(times, t)
	}
	return times, nil
}

func parseTime(v string) (time.Time, error) {
	if d, err := time.ParseDuration(v); err == nil {
		return time.Now().Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, v, time.Local); err == nil {
			return t, nil
		}
	}
	sec, frac, _ := strings.Cut(v, ".")
	if n, err := strconv.ParseInt(sec, 10, 64); err == nil {
		nsec, err := strconv.ParseUint((frac + "000000000")[:9], 10, 32)
		if err == nil {
			return time.Unix(n, int64(nsec)), nil
		}
	}
	return time.Time{}, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("invalid filter 'until=%s': want a duration (24h), a date (RFC 3339) or seconds since 1970", v))
}
