package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"hoy/internal/api"
	"hoy/internal/metrics"
	"hoy/internal/system"
	"hoy/internal/trace"
	"hoy/internal/undo"
	"hoy/internal/version"
)

// observe opens what tells others about the engine, where it is configured, and
// returns who watches the calls of the API. Nobody does by default.
func (d *Daemon) observe(ctx context.Context, sys *system.Service, back *undo.Stack) ([]api.Watcher, error) {
	var watchers []api.Watcher
	if trace.Wanted() {
		t, err := trace.Open(ctx, version.Version, d.id, d.log)
		if err != nil {
			d.log.Error("calls are not traced", "err", err)
		} else {
			watchers = append(watchers, t.Watch)
			back.Push("deliver traces", t.Close)
		}
	}
	if d.cfg.MetricsAddr == "" {
		return watchers, nil
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", d.cfg.MetricsAddr)
	if err != nil {
		return nil, fmt.Errorf("metrics-addr: %w", err)
	}
	info, err := sys.Info(ctx)
	if err != nil {
		_ = l.Close()
		return nil, err
	}
	m := metrics.New(metrics.Options{
		Containers: d.containers, Events: d.events, CPUs: info.NCPU, Memory: info.MemTotal, Log: d.log,
		Info: map[string]string{
			"version": info.ServerVersion, "commit": version.Commit, "architecture": info.Architecture, "graphdriver": info.Driver,
			"kernel": info.KernelVersion, "os": info.OperatingSystem, "os_type": info.OSType, "os_version": info.OSVersion, "daemon_id": info.ID,
		},
	})
	server := &http.Server{Handler: m.Handler(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second}
	back.Push("close metrics", func(context.Context) error { return server.Close() })
	go func() {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			d.log.Error("metrics are not served any more", "err", err)
		}
	}()
	d.log.Info("metrics are served", "on", "http://"+l.Addr().String()+"/metrics")
	return append(watchers, m.Watch), nil
}
