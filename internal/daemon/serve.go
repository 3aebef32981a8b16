package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"hoy/internal/api"
	"hoy/internal/api/listen"
	"hoy/internal/config"
)

// openListeners opens every host of the configuration, or none.
func openListeners(cfg *config.Config) (all []net.Listener, err error) {
	defer func() {
		if err != nil {
			closeAll(all)
		}
	}()
	opt := listen.Options{Group: cfg.Group, InsecureTCP: cfg.AllowInsecureTCP}
	if cfg.TLS {
		var t *tls.Config
		if t, err = listen.TLS(cfg.TLSCert, cfg.TLSKey, cfg.TLSCACert, cfg.TLSVerify); err != nil {
			return nil, err
		}
		opt.TLS = t
	}
	for _, h := range cfg.Hosts {
		ls, err := listen.Open(h, opt)
		if err != nil {
			return all, err
		}
		all = append(all, ls...)
	}
	return all, nil
}

func closeAll(all []net.Listener) {
	for _, l := range all {
		_ = l.Close()
	}
}

// streamGrace is how long after the stop requests are told to end. Most have
// ended by themselves; what is left follows events or logs, waits or transfers.
const streamGrace = 300 * time.Millisecond

// serve answers requests on all listeners until ctx ends, then takes no new
// ones and gives those in work grace to end.
func serve(ctx context.Context, h http.Handler, all []net.Listener, grace func() time.Duration, log *slog.Logger) error {
	server := api.NewServer(h, log)
	requests, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	server.BaseContext = func(net.Listener) context.Context { return requests }
	failed := make(chan error, len(all))
	for _, l := range all {
		log.Info("API listens", "on", l.Addr().Network()+"://"+l.Addr().String())
		go func() {
			if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("serve %s: %w", l.Addr(), err)
			}
		}()
	}
	notify("READY=1")
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	notify("STOPPING=1")
	defer time.AfterFunc(streamGrace, cancel).Stop()
	end, stop := context.WithTimeout(context.WithoutCancel(ctx), grace())
	defer stop()
	if server.Shutdown(end) != nil {
		_ = server.Close()
	}
	return err
}

// notify tells systemd how we are, see sd_notify(3); elsewhere it does nothing.
func notify(state string) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	conn, err := (&net.Dialer{}).DialContext(context.Background(), "unixgram", path)
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = conn.Write([]byte(state))
}

// insecure lists the addresses that plain TCP is served on for others.
func insecure(cfg *config.Config, all []net.Listener) []string {
	var open []string
	for _, l := range all {
		if a, ok := l.Addr().(*net.TCPAddr); ok && !cfg.TLS && !a.IP.IsLoopback() {
			open = append(open, a.String())
		}
	}
	return open
}
