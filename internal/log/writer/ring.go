package writer

import (
	"slices"
	"sync"
	"time"

	"hoy/internal/log"
)

// ring is a Writer that nobody ever waits for: output waits in memory, up to a
// number of bytes. What comes when it is full is dropped, as in Docker.
type ring struct {
	w   *Writer
	max int64

	mu      sync.Mutex
	wake    *sync.Cond
	queue   []chunk
	bytes   int64
	missed  uint64
	ended   bool // no more is taken
	running bool
}

// chunk is one piece of output; end says that the stream's begun line ends before it.
type chunk struct {
	s      log.Stream
	at     time.Time
	p      []byte
	flush  bool
	missed uint64
}

var _ log.Writer = (*ring)(nil)

func newRing(w *Writer, size int64) *ring {
	r := &ring{w: w, max: size}
	r.wake = sync.NewCond(&r.mu)
	return r
}

// Write of log.Writer.
func (r *ring) Write(s log.Stream, p []byte) { r.WriteAt(s, r.w.now(), p) }

// WriteAt of log.Writer.
func (r *ring) WriteAt(s log.Stream, at time.Time, p []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return
	}
	// One that is larger than the whole buffer is taken where nothing else waits.
	if r.bytes+int64(len(p)) > r.max && len(r.queue) > 0 {
		r.missed += lines(p)
		return
	}
	r.put(chunk{s: s, at: at, p: slices.Clone(p), missed: r.missed})
	r.missed = 0
}

// Flush of log.Writer.
func (r *ring) Flush(s log.Stream) { r.FlushAt(s, r.w.now()) }

// FlushAt of log.Writer.
func (r *ring) FlushAt(s log.Stream, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.ended {
		r.put(chunk{s: s, at: at, flush: true, missed: r.missed})
		r.missed = 0
	}
}

// put queues; r.mu is held. The goroutine that writes lives while there is something.
func (r *ring) put(c chunk) {
	r.queue = append(r.queue, c)
	r.bytes += int64(len(c.p))
	if !r.running {
		r.running = true
		go r.run()
	}
}

func (r *ring) run() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.queue) > 0 {
		c := r.queue[0]
		r.queue[0] = chunk{}
		r.queue = r.queue[1:]
		r.bytes -= int64(len(c.p))
		r.mu.Unlock()
		r.write(c)
		r.mu.Lock()
	}
	r.queue, r.running = nil, false
	r.wake.Broadcast()
}

func (r *ring) write(c chunk) {
	if c.missed > 0 {
		r.w.Flush(log.Stdout)
		r.w.Flush(log.Stderr)
		r.w.miss(c.missed, "the buffer of max-buffer-size was full")
	}
	if c.flush {
		r.w.FlushAt(c.s, c.at)
		return
	}
	r.w.WriteAt(c.s, c.at, c.p)
}

// drain waits until all that waits is written, and refuses more.
func (r *ring) drain() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = true
	for r.running {
		r.wake.Wait()
	}
	if r.missed > 0 {
		r.w.miss(r.missed, "the buffer of max-buffer-size was full")
		r.missed = 0
	}
}

// Dropped of log.Writer.
func (r *ring) Dropped() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	waiting := r.missed
	for _, c := range r.queue {
		waiting += c.missed
	}
	return waiting + r.w.Dropped()
}

// Release of log.Writer.
func (r *ring) Release() { r.w.Release() }

// Close of log.Writer.
func (r *ring) Close() error {
	r.w.Release()
	r.drain()
	return r.w.Close()
}

// Suspend of log.Writer.
func (r *ring) Suspend() [2][]byte {
	r.w.Release()
	r.drain()
	return r.w.Suspend()
}

// Begun of log.Writer.
func (r *ring) Begun(lines [2][]byte) { r.w.Begun(lines) }
