package api

import (
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Bounds on what a client may do before it is known what it wants.
const (
	headerTime = 20 * time.Second
	idleTime   = 10 * time.Minute
	// maxHeader leaves room for registry credentials.
	maxHeader = 256 << 10
)

// NewServer makes the HTTP server. Bodies and answers have no time limit: a
// pull, a build's context or an attached terminal may take days.
func NewServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: headerTime, IdleTimeout: idleTime, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		ConnState: func(c net.Conn, s http.ConnState) {
			if tcp, ok := c.(*net.TCPConn); ok && s == http.StateNew {
				_ = tcp.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 10 * time.Second, Count: 6})
			}
		},
	}
}
