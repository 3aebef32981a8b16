package session

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"github.com/moby/moby/client"
	"golang.org/x/sys/unix"

	"hoy/internal/cli"
)

// patience is how many interrupts a user sends before this process leaves, with
// a container that ignores them left running.
const patience = 3

// ForwardSignals sends the signals that this process gets on to the container,
// until stop is called. It must be called before the container starts, so that
// none is lost; they are held until ready is closed.
func ForwardSignals(ctx context.Context, app *cli.App, api client.APIClient, id string, ready <-chan struct{}) (stop func()) {
	signals := make(chan os.Signal, 128)
	signal.Notify(signals)
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer signal.Stop(signals)
		select {
		case <-ready:
		case <-ctx.Done():
			return
		}
		interrupts := 0
		for {
			select {
			case got := <-signals:
				sig, ok := got.(syscall.Signal)
				if !ok || !forwarded(sig) {
					continue
				}
				if _, err := api.ContainerKill(ctx, id, client.ContainerKillOptions{Signal: signalName(sig)}); err != nil && app.Global.Debug {
					fmt.Fprintf(app.Err, "Error sending signal: %v\n", err)
				}
				if sig == syscall.SIGINT || sig == syscall.SIGTERM {
					if interrupts++; interrupts == patience {
						leave(app, id)
					}
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return cancel
}

func leave(app *cli.App, id string) {
	fmt.Fprintf(app.Err, "\nThe container's command ignored %d signals; it runs on.\n"+
		"Stop it with: hoy stop %.12s   (and start it with --init, so that Ctrl-C works)\n", patience, id)
	os.Exit(1)
}

// forwarded tells the signals that are meant for the container from those that
// concern this process alone: its children, its pipes, its terminal's size, and
// what the Go runtime sends itself.
func forwarded(sig syscall.Signal) bool {
	switch sig {
	case syscall.SIGCHLD, syscall.SIGPIPE, syscall.SIGURG, syscall.SIGWINCH:
		return false
	}
	return true
}

func signalName(sig syscall.Signal) string {
	if name := unix.SignalName(sig); name != "" {
		return name
	}
	return strconv.Itoa(int(sig))
}
