package health

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"

	"github.com/moby/moby/api/types/container"
	"golang.org/x/sys/unix"

	"hoy/internal/container/config"
	"hoy/internal/container/index"
)

// maxDials bounds how many threads are in containers' network namespaces at a time.
const maxDials = 32

var dials = make(chan struct{}, maxDials)

// nativeProber probes from inside the container's network namespace with no
// process started there.
type nativeProber struct {
	// pidfd of the first process: as long as it lives, its namespace is the container's.
	pidfd  int
	target config.HealthTarget
	probe  func(ctx context.Context, dial dialer, t config.HealthTarget) (int, string, error)
}

type dialer func(ctx context.Context, network, addr string) (net.Conn, error)

func native(probe func(context.Context, dialer, config.HealthTarget) (int, string, error)) newProber {
	return func(e *index.Entry, h *container.HealthConfig) (Prober, error) {
		target, err := config.ParseHealthTarget(h.Test)
		if err != nil {
			return nil, err
		}
		fd, err := unix.PidfdOpen(e.Record().State.Pid, 0)
		if err != nil {
			return nil, fmt.Errorf("health check: the container's process: %w", err)
		}
		return &nativeProber{fd, target, probe}, nil
	}
}

func (p *nativeProber) Close() { _ = unix.Close(p.pidfd) }

func (p *nativeProber) Probe(ctx context.Context) (int, string, error) {
	code, out, err := p.probe(ctx, p.dial, p.target)
	if err != nil {
		return 1, err.Error(), nil //nolint:nilerr // a connection that is refused is the probe's result
	}
	return code, out, nil
}

// dial connects on a thread that is in the container's network namespace for
// that time. The address has no name to look up, so all is done on this thread.
func (p *nativeProber) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	select {
	case dials <- struct{}{}:
		defer func() { <-dials }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result, 1)
	go func() {
		runtime.LockOSThread()
		conn, home, err := p.dialThere(ctx, network, addr)
		if home {
			// Else the thread ends with this goroutine.
			runtime.UnlockOSThread()
		}
		done <- result{conn, err}
	}()
	r := <-done
	return r.conn, r.err
}

func (p *nativeProber) dialThere(ctx context.Context, network, addr string) (conn net.Conn, home bool, err error) {
	own, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, true, fmt.Errorf("open own network namespace: %w", err)
	}
	defer func() { _ = unix.Close(own) }()
	if err := unix.Setns(p.pidfd, unix.CLONE_NEWNET); err != nil {
		return nil, true, fmt.Errorf("join the container's network namespace: %w", err)
	}
	var d net.Dialer
	conn, err = d.DialContext(ctx, network, addr)
	return conn, unix.Setns(own, unix.CLONE_NEWNET) == nil, err
}

func tcpProbe(ctx context.Context, dial dialer, t config.HealthTarget) (int, string, error) {
	conn, err := dial(ctx, "tcp", t.Addr)
	if err != nil {
		return 1, "", err
	}
	return 0, "connected to " + t.Addr, conn.Close()
}

func httpProbe(ctx context.Context, dial dialer, t config.HealthTarget) (int, string, error) {
	res, err := roundTrip(ctx, dial, t, http.MethodGet, nil)
	if err != nil {
		return 1, "", err
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(res.Body, maxOutput))
	out := strings.TrimSpace(res.Status + "\n" + string(body))
	if res.StatusCode < 200 || res.StatusCode >= 400 {
		return 1, out, nil
	}
	return 0, out, nil
}

// roundTrip makes one request on a connection of its own; a redirection is an answer.
func roundTrip(ctx context.Context, dial dialer, t config.HealthTarget, method string, body io.Reader) (*http.Response, error) {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(!t.HTTP2)
	protocols.SetUnencryptedHTTP2(t.HTTP2)
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) { return dial(ctx, network, t.Addr) },
		// The certificate is the container's own, for a name that is not this address.
		TLSClientConfig:        &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // see above; kubelet's probes do the same
		DisableKeepAlives:      !t.HTTP2,
		Protocols:              protocols,
		MaxResponseHeaderBytes: 64 << 10,
	}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, method, t.URL, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "hoy-health")
	if t.HTTP2 {
		req.Header.Set("Content-Type", "application/grpc")
		req.Header.Set("TE", "trailers")
	}
	return transport.RoundTrip(req)
}

// grpcServing is HealthCheckResponse.SERVING of grpc.health.v1, and grpcFrame the
// length of a message's prefix: a flag and a 32-bit length.
const (
	grpcServing = 1
	grpcFrame   = 5
)

var errGRPC = errors.New("the answer is not one of grpc.health.v1.Health")

// grpcProbe calls grpc.health.v1.Health/Check. The two messages have one field
// each: a string 1 there, an enum 1 back.
func grpcProbe(ctx context.Context, dial dialer, t config.HealthTarget) (int, string, error) {
	var msg []byte
	if t.Service != "" {
		msg = append([]byte{1<<3 | 2, byte(len(t.Service))}, t.Service...)
	}
	frame := append([]byte{0, 0, 0, 0, byte(len(msg))}, msg...)
	res, err := roundTrip(ctx, dial, t, http.MethodPost, strings.NewReader(string(frame)))
	if err != nil {
		return 1, "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxOutput))
	if err != nil {
		return 1, "", err
	}
	status := res.Trailer.Get("Grpc-Status")
	if status == "" {
		status = res.Header.Get("Grpc-Status")
	}
	switch {
	case res.StatusCode != http.StatusOK:
		return 1, "", fmt.Errorf("%w: %s", errGRPC, res.Status)
	case status != "0":
		return 1, fmt.Sprintf("gRPC status %s: %s", status, res.Trailer.Get("Grpc-Message")), nil
	case len(body) < grpcFrame:
		return 1, "", errGRPC
	}
	serving := body[grpcFrame:]
	if len(serving) != 2 || serving[0] != 1<<3 || serving[1] != grpcServing {
		return 1, "not serving", nil
	}
	return 0, "serving", nil
}
