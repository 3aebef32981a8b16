package userns_test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"hoy/test/e2e/engine"
)

// BenchmarkLife is create, start, wait and remove by the API, with the host's
// users and with those of each kind of user namespace.
func BenchmarkLife(b *testing.B) {
	e := engine.Start(b, "--userns-remap", "default")
	e.Busybox()
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", strings.TrimPrefix(e.Host, "unix://"))
	}}}
	defer client.CloseIdleConnections()
	call := func(method, path, body string) []byte {
		req, err := http.NewRequestWithContext(b.Context(), method, "http://hoy/v1.44"+path, strings.NewReader(body))
		if err != nil {
			b.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := client.Do(req)
		if err != nil {
			b.Fatal(err)
		}
		defer resp.Body.Close()
		answer, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode >= http.StatusBadRequest {
			b.Fatalf("%s %s: %s %s %v", method, path, resp.Status, answer, err)
		}
		return answer
	}
	life := func(mode string) {
		var made struct{ ID string }
		answer := call(http.MethodPost, "/containers/create", `{"Image":"busybox","Cmd":["true"],"HostConfig":{"UsernsMode":"`+mode+`"}}`)
		if err := json.Unmarshal(answer, &made); err != nil {
			b.Fatal(err)
		}
		call(http.MethodPost, "/containers/"+made.ID+"/start", "")
		call(http.MethodPost, "/containers/"+made.ID+"/wait", "")
		call(http.MethodDelete, "/containers/"+made.ID, "")
	}
	for _, c := range []struct{ name, mode string }{{"host", "host"}, {"remapped", ""}, {"private", "private"}} {
		b.Run(c.name, func(b *testing.B) {
			best := time.Hour
			for b.Loop() {
				from := time.Now()
				life(c.mode)
				best = min(best, time.Since(from))
			}
			b.ReportMetric(float64(best.Microseconds())/1000, "best-ms")
		})
	}
}
