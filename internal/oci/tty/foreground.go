package tty

import (
	"os"

	"golang.org/x/sys/unix"

	"hoy/internal/oci/hook"
	"hoy/internal/runtime"
)

// Foreground stands between the caller and the process until that ends: it
// forwards signals and carries the terminal.
func Foreground(p *runtime.Process, signals chan os.Signal) (int, error) {
	var relay *Relay
	if p.Console != nil {
		var err error
		if relay, err = NewRelay(p.Console, os.Stdin, os.Stdout); err != nil {
			return 255, err
		}
		p.Console = nil // the relay's to close
		defer relay.Close()
	}
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		for {
			select {
			case s := <-signals:
				forward(p, relay, s)
			case <-ended:
				return
			}
		}
	}()
	return hook.Reap(p)
}

func forward(p *runtime.Process, relay *Relay, s os.Signal) {
	switch sig := s.(unix.Signal); sig {
	case unix.SIGCHLD, unix.SIGURG, unix.SIGPIPE:
		// The first is about our own child, the second the Go scheduler's, and the
		// third our own output's.
	case unix.SIGWINCH:
		if relay != nil {
			relay.Resize()
			return
		}
		fallthrough
	default:
		_ = unix.PidfdSendSignal(int(p.PidFD.Fd()), sig, nil, 0)
	}
}
