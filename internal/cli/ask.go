package cli

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/common"
)

// maxAnswer bounds an answer of the engine, in bytes.
const maxAnswer = 64 << 20

// Ask makes a request that only our own engine knows, and decodes its answer
// into out. That another engine does not know it is errdefs.ErrNotImplemented.
func (a *App) Ask(ctx context.Context, method, path string, out any) error {
	api, err := a.Client()
	if err != nil {
		return err
	}
	dial := api.Dialer()
	once := http.Client{Transport: &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		DisableKeepAlives: true, ResponseHeaderTimeout: 10 * time.Minute,
	}}
	req, err := http.NewRequestWithContext(ctx, method, "http://hoy"+path, http.NoBody)
	if err != nil {
		return err
	}
	answer, err := once.Do(req)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return err
	}
	if answer.StatusCode == http.StatusOK {
		return json.Unmarshal(data, out)
	}
	if answer.StatusCode == http.StatusNotFound {
		return errdefs.ErrNotImplemented.WithMessage("this engine does not know " + path)
	}
	var said common.ErrorResponse
	if json.Unmarshal(data, &said) != nil || said.Message == "" {
		said.Message = answer.Status
	}
	return errors.New("Error response from daemon: " + said.Message)
}
