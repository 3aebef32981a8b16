package session

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"hoy/internal/cli"
)

// Resizer tells the daemon the size of the terminal, in characters.
type Resizer func(ctx context.Context, height, width uint) error

const (
	resizeTries = 10
	resizePause = 10 * time.Millisecond
)

// FollowSize sends the size of the terminal now and whenever it changes, until
// stop is called. The process may not have its terminal yet, so that the first
// size is sent again for a moment where it is refused.
func FollowSize(ctx context.Context, app *cli.App, resize Resizer) (stop func()) {
	if !app.Out.IsTerminal() {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, syscall.SIGWINCH)
	go func() {
		defer signal.Stop(changed)
		for try := range resizeTries {
			if send(ctx, app, resize) == nil {
				break
			}
			select {
			case <-time.After(resizePause << min(try, 6)):
			case <-ctx.Done():
				return
			}
		}
		for {
			select {
			case <-changed:
				_ = send(ctx, app, resize) // the next change is another chance
			case <-ctx.Done():
				return
			}
		}
	}()
	return cancel
}

func send(ctx context.Context, app *cli.App, resize Resizer) error {
	height, width := app.Out.Size()
	if height == 0 && width == 0 {
		return nil
	}
	return resize(ctx, height, width)
}
