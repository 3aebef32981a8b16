package progress

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/moby/moby/api/types/jsonstream"
)

// Upload counts what is read through it and shows that on a terminal, on one
// line, until Stop. It is the reader to send to the daemon.
type Upload struct {
	from io.Reader
	read atomic.Int64
	stop func()
}

// NewUpload begins to show on out, which must be a terminal, how much of from
// has been sent. The size is in bytes; 0 is unknown. Width is as for Display.
func NewUpload(from io.Reader, size int64, out io.Writer, width func() int) *Upload {
	u := &Upload{from: from}
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		ticker := time.NewTicker(redraw)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				_, _ = io.WriteString(out, "\r\x1b[2K"+u.line(size, width))
			case <-done:
				_, _ = io.WriteString(out, "\r\x1b[2K")
				return
			}
		}
	})
	u.stop = sync.OnceFunc(func() {
		close(done)
		wg.Wait()
	})
	return u
}

func (u *Upload) line(size int64, width func() int) string {
	columns := unknownWidth
	if width != nil {
		if w := width(); w > 0 {
			columns = w
		}
	}
	progress := jsonstream.Progress{Current: u.read.Load(), Total: size}
	status := "Sending to the daemon"
	if size > 0 && progress.Current >= size {
		status = "Sent, the daemon is working"
	}
	return line{row: &row{status: status, progress: progress}}.render(columns-1, time.Now())
}

// Read passes on the source's bytes.
func (u *Upload) Read(p []byte) (int, error) {
	n, err := u.from.Read(p)
	u.read.Add(int64(n))
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("read what to send: %w", err)
	}
	return n, err
}

// Stop takes the line off the screen. It may be called more than once.
func (u *Upload) Stop() { u.stop() }
