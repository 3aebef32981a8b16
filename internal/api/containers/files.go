package containers

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"

	"github.com/moby/moby/api/types/container"

	"hoy/internal/api/edge"
	"hoy/internal/request"
)

// statHeader carries what a path is, as base64 of JSON.
const statHeader = "X-Docker-Container-Path-Stat"

func (rt router) export(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Content-Type", "application/octet-stream")
	return rt.b.Export(r.Context(), ref(r), w)
}

func archivePath(r *http.Request) (string, error) {
	path := edge.QueryOf(r).Get("path")
	if path == "" {
		return "", edge.Invalid("bad parameter: path cannot be empty")
	}
	return path, nil
}

func setStat(w http.ResponseWriter, stat container.PathStat) error {
	raw, err := json.Marshal(stat)
	if err != nil {
		return err
	}
	w.Header().Set(statHeader, base64.StdEncoding.EncodeToString(raw))
	return nil
}

func (rt router) statArchive(w http.ResponseWriter, r *http.Request) error {
	path, err := archivePath(r)
	if err != nil {
		return err
	}
	stat, err := rt.b.StatPath(r.Context(), ref(r), path)
	if err != nil {
		return err
	}
	return setStat(w, stat)
}

func (rt router) getArchive(w http.ResponseWriter, r *http.Request) error {
	path, err := archivePath(r)
	if err != nil {
		return err
	}
	stat, content, err := rt.b.GetArchive(r.Context(), ref(r), path)
	if err != nil {
		return err
	}
	defer content.Close()
	if err := setStat(w, stat); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/x-tar")
	_, err = io.Copy(w, content)
	return err
}

func (rt router) putArchive(w http.ResponseWriter, r *http.Request) error {
	path, err := archivePath(r)
	if err != nil {
		return err
	}
	q := edge.QueryOf(r)
	opt := request.PutArchive{
		NoOverwriteDirNonDir: q.Bool("noOverwriteDirNonDir"),
		CopyUIDGID:           !edge.Before(r, 30) && q.Bool("copyUIDGID"),
	}
	if err := rt.b.PutArchive(r.Context(), ref(r), path, opt, r.Body); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}
