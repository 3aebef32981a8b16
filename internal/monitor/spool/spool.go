// Package spool holds output that was read and is not in the log yet, in a file
// that is mapped: what a monitor that is killed has in hand, the next one finds.
//
// A slot is one stream's, as long as it has something in hand; a silent stream
// has none. What happens to its bytes is told by one word of memory, changed in
// one instruction, before and after each step:
//
//	held      a begun line, and nothing else
//	reading   a read of so many bytes is under way: a pattern lies where they
//	          come, and is gone when they have come
//	read      they are there, and no one has begun to write them
//	writing   they are being written to the log, in records of a certain time
//	flushing  the begun line is, as the stream has ended
//
// Which records of that time are in the log, the log itself tells.
package spool

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"hoy/internal/log"
)

const (
	// stride is the size of a slot, headerSize that of what stands before its data.
	stride     = 128 << 10
	headerSize = 4 << 10
	capacity   = stride - headerSize
	// MaxRead is how much is read at once.
	MaxRead = 64 << 10
	// step is in what pieces memory is taken.
	step = 16 << 10
	// maxSlots bounds the file. A stream beyond goes without.
	maxSlots = 4096
	// maxName bounds the name of an owner.
	maxName     = 300
	patternSize = 16
	// pageSize is the smallest there is.
	pageSize = 4 << 10
)

// The places in a slot's header.
const (
	stateAt   = 0
	timeAt    = 8
	patternAt = 16
	streamAt  = 32
	lengthAt  = 34
	nameAt    = 64
)

type phase uint8

const (
	free phase = iota
	held
	reading
	read
	writing
	flushing
)

// state is a slot's word: data[start:mid] is a begun line, data[mid:end] what came after it.
type state struct {
	phase           phase
	start, mid, end int
}

// 17 bits hold every place in a slot.
const places = 17

func (s state) word() uint64 {
	return uint64(s.phase) | uint64(s.start)<<8 | uint64(s.mid)<<(8+places) | uint64(s.end)<<(8+2*places)
}

func parse(w uint64) state {
	const mask = 1<<places - 1
	return state{phase(w), int(w >> 8 & mask), int(w >> (8 + places) & mask), int(w >> (8 + 2*places) & mask)}
}

// valid bounds what a file may say.
func (s state) valid() bool {
	return s.phase >= held && s.phase <= flushing && s.start <= s.mid && s.mid <= s.end && s.end <= capacity
}

// Spool is the file. A nil *Spool gives no slots.
type Spool struct {
	file *os.File
	log  *slog.Logger
	seed [patternSize]byte

	mu    sync.Mutex
	slots int
	free  []*Slot
	left  map[owner]*Slot
	full  bool // there was no memory, and that was said
}

type owner struct {
	name   string
	stream log.Stream
}

// Slot is a stream's, from Take to Free. One goroutine has it.
type Slot struct {
	spool *Spool
	at    int64 // place in the file
	mem   []byte
	// taken is how much of the data has memory.
	taken int
	count uint64
}

// Open opens the file, or makes it. What an earlier monitor has left in it is given by Left.
func Open(path string, log *slog.Logger) (*Spool, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	s := &Spool{file: f, log: log, left: map[owner]*Slot{}}
	_, _ = rand.Read(s.seed[:]) // never fails
	fi, err := f.Stat()
	for i := int64(0); err == nil && i < min(fi.Size()/stride, maxSlots); i++ {
		err = s.look(i)
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("spool: %w", err)
	}
	return s, nil
}

// look takes in one slot of an existing file.
func (s *Spool) look(i int64) error {
	slot, err := s.mapSlot(i)
	if err != nil {
		return err
	}
	s.slots++
	// All that is told to have data has memory; more is asked for when it is used.
	if length := int(slot.mem[lengthAt]) | int(slot.mem[lengthAt+1])<<8; slot.state().valid() && length <= maxName && slot.mem[streamAt] <= byte(log.Stderr) {
		if slot.need(capacity) == nil {
			s.left[owner{string(slot.mem[nameAt : nameAt+length]), log.Stream(slot.mem[streamAt])}] = slot
			return nil
		}
	}
	slot.Free()
	return nil
}

func (s *Spool) mapSlot(i int64) (*Slot, error) {
	mem, err := unix.Mmap(int(s.file.Fd()), i*stride, stride, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	return &Slot{spool: s, at: i * stride, mem: mem}, nil
}

// Take gives a stream a slot; nil where there is no memory for one: the stream
// then goes without.
func (s *Spool) Take(name string, stream log.Stream) *Slot {
	if s == nil || len(name) > maxName {
		return nil
	}
	slot, err := s.take()
	if err != nil {
		s.mu.Lock()
		said := s.full
		s.full = true
		s.mu.Unlock()
		if !said {
			s.log.Warn("output is read without a spool: if the monitor is killed, what it has in hand is lost", "error", err)
		}
		return nil
	}
	slot.mem[streamAt] = byte(stream)
	slot.mem[lengthAt], slot.mem[lengthAt+1] = byte(len(name)), byte(len(name)>>8)
	copy(slot.mem[nameAt:], name)
	return slot
}

func (s *Spool) take() (*Slot, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.free); n > 0 {
		slot := s.free[n-1]
		s.free = s.free[:n-1]
		return slot, nil
	}
	if s.slots >= maxSlots {
		return nil, fmt.Errorf("%d streams have begun lines", maxSlots)
	}
	i := int64(s.slots)
	if err := unix.Ftruncate(int(s.file.Fd()), (i+1)*stride); err != nil {
		return nil, os.NewSyscallError("ftruncate", err)
	}
	slot, err := s.mapSlot(i)
	if err != nil {
		return nil, err
	}
	if err := slot.need(step); err != nil {
		_ = unix.Munmap(slot.mem)
		return nil, err
	}
	s.slots++
	return slot, nil
}

// Left returns what an earlier monitor has left of a stream; nil where there is nothing.
func (s *Spool) Left(name string, stream log.Stream) *Slot {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	slot := s.left[owner{name, stream}]
	delete(s.left, owner{name, stream})
	return slot
}

// Leave is the opposite of Left.
func (s *Spool) Leave(name string, stream log.Stream, slot *Slot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left[owner{name, stream}] = slot
}

// Forget frees what was left of streams that nobody has asked for.
func (s *Spool) Forget() {
	if s == nil {
		return
	}
	s.mu.Lock()
	left := s.left
	s.left = map[owner]*Slot{}
	s.mu.Unlock()
	for _, slot := range left {
		slot.Free()
	}
}

// Trim gives the memory of free slots back.
func (s *Spool) Trim() {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, slot := range s.free {
		if slot.taken > step {
			slot.give(step)
		}
	}
	s.full = false
}

// need makes sure that n bytes of data have memory: without, touching them would
// be the end of the process.
func (s *Slot) need(n int) error {
	if n <= s.taken {
		return nil
	}
	n = min((n+step-1)/step*step, capacity)
	for {
		err := unix.Fallocate(int(s.spool.file.Fd()), 0, s.at, int64(headerSize+n))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if errors.Is(err, unix.EOPNOTSUPP) {
			err = nil // a file system that has no such call; there is room as a rule
		}
		if err == nil {
			s.taken = n
		}
		return os.NewSyscallError("fallocate", err)
	}
}

// give gives the memory behind n bytes of data back.
func (s *Slot) give(n int) {
	from := s.at + int64(headerSize+n)
	if unix.Fallocate(int(s.spool.file.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, from, s.at+stride-from) == nil {
		s.taken = n
	}
}

func (s *Slot) word() *atomic.Uint64 { return (*atomic.Uint64)(unsafe.Pointer(&s.mem[stateAt])) }
func (s *Slot) when() *atomic.Int64  { return (*atomic.Int64)(unsafe.Pointer(&s.mem[timeAt])) }
func (s *Slot) state() state         { return parse(s.word().Load()) }
func (s *Slot) set(st state)         { s.word().Store(st.word()) }
func (s *Slot) data() []byte         { return s.mem[headerSize:] }

// Free gives the slot back.
func (s *Slot) Free() {
	s.set(state{})
	s.spool.mu.Lock()
	s.spool.free = append(s.spool.free, s)
	s.spool.mu.Unlock()
}

// Reading makes room for n bytes, at most MaxRead, and returns it; nil where
// there is no memory. A read of exactly n bytes that are there must follow, then
// Read.
func (s *Slot) Reading(n int) []byte {
	st := s.state()
	if st.mid+n > capacity {
		st = s.front(st)
	}
	if s.need(st.mid+n) != nil {
		return nil
	}
	room := s.data()[st.mid : st.mid+n]
	// Every page is there before the read: else it could end in the middle when
	// the process is killed, after it has taken more from the pipe than is told.
	for i := 0; i < n; i += pageSize {
		room[i] = 0
	}
	room[n-1] = 0
	pattern := s.mem[patternAt : patternAt+patternSize]
	s.count++
	copy(pattern, s.spool.seed[:])
	for i := range 8 {
		pattern[i] ^= byte(s.count>>(8*i)) * 0x9d
	}
	copy(room, pattern)
	s.set(state{reading, st.start, st.mid, st.mid + n})
	return room
}

// front moves a begun line to the front. It is shorter than what stands before it.
func (s *Slot) front(st state) state {
	n := copy(s.data()[:st.start], s.data()[st.start:st.mid])
	if n < st.mid-st.start {
		return st
	}
	st = state{held, 0, n, n}
	s.set(st)
	return st
}

// Read says that n bytes have come; 0 takes Reading back.
func (s *Slot) Read(n int) {
	st := s.state()
	if n <= 0 {
		s.set(state{held, st.start, st.mid, st.mid})
		return
	}
	s.set(state{read, st.start, st.mid, st.mid + n})
}

// Hold takes over a begun line, which is short, into a new slot.
func (s *Slot) Hold(line []byte) {
	s.set(state{held, 0, copy(s.data()[:s.taken], line), 0}.settled())
}

func (s state) settled() state {
	s.end = s.mid
	return s
}

// Write has write put what has come into the log, in records of that time, and
// says whether a begun line is left. The caller frees the slot where none is.
func (s *Slot) Write(at time.Time, write func(p []byte)) (more bool) {
	s.when().Store(at.UnixNano())
	st := s.state()
	st.phase = writing
	s.set(st)
	write(s.data()[st.mid:st.end])
	n := begun(s.data()[st.start:st.end])
	s.set(state{held, st.end - n, st.end, st.end})
	return n > 0
}

// Flush has flush put the begun line into the log, in a record of that time.
func (s *Slot) Flush(at time.Time, flush func()) {
	s.when().Store(at.UnixNano())
	st := s.state()
	st.phase = flushing
	s.set(st)
	flush()
}

// Rest makes a slot small whose stream is silent: with what it holds it may be so for ever.
func (s *Slot) Rest() {
	if s.taken <= step {
		return
	}
	st := s.state()
	if st.start > 0 {
		st = s.front(st)
	}
	if keep := (st.mid + step - 1) / step * step; keep < s.taken {
		s.give(max(keep, step))
	}
}

// Recover says what an earlier monitor had in hand: the begun line, and what came
// after it that is not in the log. written counts the records of a time in it.
// Where there is something to write, Write must follow.
func (s *Slot) Recover(written func(at time.Time) int) (line, rest []byte) {
	st := s.state()
	switch st.phase {
	case reading:
		room := s.data()[st.mid:st.end]
		n := min(len(room), patternSize)
		if bytes.Equal(room[:n], s.mem[patternAt:patternAt+n]) {
			st.end = st.mid // nothing has come
		}
	case writing:
		pieces := written(time.Unix(0, s.when().Load()))
		if pieces > 0 {
			st.start += skip(s.data()[st.start:st.end], pieces)
			st.mid = st.start
		}
	case flushing:
		if written(time.Unix(0, s.when().Load())) > 0 {
			st.start = st.mid
		}
		st.end = st.mid
	default:
	}
	if st.end == st.mid {
		st.phase = held
	} else {
		st.phase = read
	}
	s.set(st)
	return s.data()[st.start:st.mid], s.data()[st.mid:st.end]
}

// Empty says that a slot holds nothing.
func (s *Slot) Empty() bool {
	st := s.state()
	return st.start == st.end
}

// piece is the length of the first record of p; 0 where it is only begun.
func piece(p []byte) int {
	end := bytes.IndexByte(p[:min(len(p), log.MaxLine)], '\n')
	switch {
	case end >= 0:
		return end + 1
	case len(p) >= log.MaxLine:
		return log.MaxLine
	}
	return 0
}

// skip is the length of the first n records of p.
func skip(p []byte, n int) (length int) {
	for range n {
		l := piece(p[length:])
		if l == 0 {
			break
		}
		length += l
	}
	return length
}

// begun is how many bytes at the end of p, which starts with a record, are no
// record yet. Log writers divide what they get likewise.
func begun(p []byte) int {
	return (len(p) - 1 - bytes.LastIndexByte(p, '\n')) % log.MaxLine
}
