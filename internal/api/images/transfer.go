package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/api/types/registry"

	"hoy/internal/api/edge"
	"hoy/internal/api/stream"
	"hoy/internal/request"
)

func (rt router) create(w http.ResponseWriter, r *http.Request) error {
	q := edge.QueryOf(r)
	switch {
	case q.Get("fromImage") != "":
		return rt.pull(w, r, q)
	case q.Get("fromSrc") != "":
		return rt.importTar(w, r, q)
	default:
		return edge.Invalid("one of the parameters fromImage and fromSrc must be given")
	}
}

// withTag adds what the client gave apart from the name: a tag or a digest.
func withTag(name, tag string) (string, reference.Named, error) {
	if strings.Contains(tag, ":") {
		name += "@" + tag
	} else if tag != "" {
		name += ":" + tag
	}
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return "", nil, edge.Invalid(err.Error())
	}
	return name, named, nil
}

func (rt router) pull(w http.ResponseWriter, r *http.Request, q edge.Query) error {
	name, named, err := withTag(q.Get("fromImage"), q.Get("tag"))
	if err != nil {
		return err
	}
	opt := request.ImageTransfer{AllTags: reference.IsNameOnly(named)}
	if !edge.Before(r, 32) {
		if opt.Platform, err = q.Platform("platform"); err != nil {
			return err
		}
	}
	if opt.Auth, err = edge.RegistryAuth(r); err != nil {
		return err
	}
	p := stream.NewProgress(w)
	return p.End(rt.b.Pull(r.Context(), name, opt, p.Send))
}

func (rt router) push(w http.ResponseWriter, r *http.Request, name string) error {
	q := edge.QueryOf(r)
	name, named, err := withTag(name, q.Get("tag"))
	if err != nil {
		return err
	}
	opt := request.ImageTransfer{AllTags: reference.IsNameOnly(named)}
	if !edge.Before(r, 46) {
		if opt.Platform, err = q.JSONPlatform("platform"); err != nil {
			return err
		}
	}
	if opt.Auth, err = edge.RegistryAuth(r); err != nil {
		return err
	}
	p := stream.NewProgress(w)
	return p.End(rt.b.Push(r.Context(), name, opt, p.Send))
}

func (rt router) importTar(w http.ResponseWriter, r *http.Request, q edge.Query) error {
	opt := request.ImageImport{Message: q.Get("message"), Changes: q.Values["changes"]}
	var err error
	if repo := q.Get("repo"); repo != "" {
		if opt.Ref, _, err = withTag(repo, q.Get("tag")); err != nil {
			return err
		}
		if strings.Contains(opt.Ref, "@") {
			return edge.Invalid("cannot import digest reference")
		}
	}
	if opt.Platform, err = q.Platform("platform"); err != nil {
		return err
	}
	content := r.Body
	p := stream.NewProgress(w)
	if src := q.Get("fromSrc"); src != "-" {
		if opt.Message == "" {
			opt.Message = "Imported from " + src
		}
		if content, err = download(r.Context(), src, p.Send); err != nil {
			return p.End(err)
		}
		defer content.Close()
	}
	id, err := rt.b.Import(r.Context(), content, opt, p.Send)
	if err == nil {
		p.Send(jsonstream.Message{Status: id})
	}
	return p.End(err)
}

// fetcher gets import sources. The time for an answer to begin is bounded, the body's is the client's.
var fetcher = &http.Client{Transport: &http.Transport{
	Proxy: http.ProxyFromEnvironment, ResponseHeaderTimeout: 30 * time.Second, TLSHandshakeTimeout: 10 * time.Second,
	DisableKeepAlives: true, DisableCompression: true,
}}

func download(ctx context.Context, src string, progress request.Progress) (io.ReadCloser, error) {
	if !strings.Contains(src, "://") {
		src = "http://" + src
	}
	u, err := url.Parse(src)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, edge.Invalid(fmt.Sprintf("invalid import source %q: must be -, or an http or https address", src))
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, edge.Invalid(err.Error())
	}
	answer, err := fetcher.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errdefs.ErrUnavailable.WithMessage("download of import source failed"), err)
	}
	if answer.StatusCode != http.StatusOK {
		_ = answer.Body.Close()
		return nil, edge.Invalid(fmt.Sprintf("download of import source failed: %s answered %s", u.Redacted(), answer.Status))
	}
	progress(jsonstream.Message{Status: "Downloading from " + u.Redacted()})
	return answer.Body, nil
}

func (rt router) load(w http.ResponseWriter, r *http.Request) error {
	q := edge.QueryOf(r)
	platforms, err := q.JSONPlatforms("platform")
	if err != nil {
		return err
	}
	if edge.Before(r, 52) && len(platforms) > 1 {
		return edge.Invalid("loading several platforms needs API v1.52 or newer")
	}
	// The progress goes out while the archive comes in. Otherwise the server reads
	// on in the body by itself, before the first byte of an answer, and drops that.
	if err := http.NewResponseController(w).EnableFullDuplex(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	p := stream.NewProgress(w)
	if q.BoolOr("quiet", false) {
		p.Keep = func(m jsonstream.Message) bool { return m.Stream != "" }
	}
	return p.End(rt.b.Load(r.Context(), r.Body, platforms, p.Send))
}

func (rt router) saveMany(w http.ResponseWriter, r *http.Request) error {
	return rt.save(w, r, edge.QueryOf(r).Values["names"])
}

func (rt router) saveOne(w http.ResponseWriter, r *http.Request, name string) error {
	return rt.save(w, r, []string{name})
}

func (rt router) save(w http.ResponseWriter, r *http.Request, names []string) error {
	var refs []string
	for _, n := range names {
		for one := range strings.SplitSeq(n, ",") {
			if one != "" {
				refs = append(refs, one)
			}
		}
	}
	if len(refs) == 0 {
		return edge.Invalid("no images to save: parameter names is missing")
	}
	platforms, err := edge.QueryOf(r).JSONPlatforms("platform")
	if err != nil {
		return err
	}
	if edge.Before(r, 52) && len(platforms) > 1 {
		return edge.Invalid("saving several platforms needs API v1.52 or newer")
	}
	w.Header().Set("Content-Type", "application/x-tar")
	return rt.b.Save(r.Context(), refs, platforms, w)
}

func (rt router) distribution(w http.ResponseWriter, r *http.Request, name string) error {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return edge.Invalid(err.Error())
	}
	auth, err := edge.RegistryAuth(r)
	if err != nil {
		return err
	}
	info, err := rt.b.DistributionInspect(r.Context(), reference.FamiliarString(reference.TagNameOnly(named)), auth)
	if err != nil {
		return err
	}
	return edge.Answer(w, http.StatusOK, info)
}

func (rt router) auth(w http.ResponseWriter, r *http.Request) error {
	var auth registry.AuthConfig
	if err := edge.Body(w, r, &auth); err != nil {
		return err
	}
	answer, err := rt.b.Login(r.Context(), auth)
	if err != nil {
		return err
	}
	return edge.Answer(w, http.StatusOK, answer)
}
