// Package ring keeps the last records of a sequence in one file of bounded size.
//
// The file is a circle of bytes. A record begins at a multiple of 8 and is
//
//	magic   4  "hoyE"
//	length  4  of the payload, little endian as all numbers
//	number  8  counts from 1, without a hole
//	time    8  nanoseconds since 1970
//	check   4  CRC-32C of length, number, time and payload
//	zero    4
//	payload, then zeros up to the next multiple of 8
//
// and goes on at the file's beginning where it meets the end. A new record
// overwrites the oldest. Writing one is one write(2), without a sync: what was
// written survives the end of the process, the last seconds may not survive a
// power cut. What is damaged is passed over: any record stands by itself, and a
// number that is missing tells that one is lost.
package ring

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"slices"
	"sync"
	"time"
)

const (
	header = 32
	align  = 8
	// MaxPayload bounds one record, in bytes.
	MaxPayload = 256 << 10
)

var (
	magic = [4]byte{'h', 'o', 'y', 'E'}
	table = crc32.MakeTable(crc32.Castagnoli)
)

// Ring is an open file. Its methods may be called at the same time.
type Ring struct {
	f    *os.File
	size int64

	// mu guards the two numbers only and is never held across a system call.
	mu   sync.Mutex
	next uint64
	off  int64
}

// Report is what Open found.
type Report struct {
	// Records that are whole, and the numbers missing among them.
	Records, Missing int
	// Torn says that the last record was begun and not finished.
	Torn bool
	// Foreign is the number of bytes of a file in which nothing is a record.
	Foreign int64
}

// Slot is a record's place.
type Slot struct {
	Number uint64
	off    int64
}

// Record is one that was read.
type Record struct {
	Number  uint64
	Time    time.Time
	Payload []byte
}

// Open opens or makes the file at path, a circle of size bytes: a multiple of 8
// and at least twice the largest record. Damage is no error: it is reported.
func Open(path string, size int64) (*Ring, Report, error) {
	if size%align != 0 || size < 2*(MaxPayload+header) {
		return nil, Report{}, fmt.Errorf("a ring of %d bytes is too small or odd", size)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, Report{}, err
	}
	r := &Ring{f: f, size: size, next: 1}
	rep, err := r.recover()
	if err != nil {
		_ = f.Close()
		return nil, rep, fmt.Errorf("read %s: %w", path, err)
	}
	return r, rep, nil
}

// recover finds where to go on.
func (r *Ring) recover() (Report, error) {
	var rep Report
	data, err := r.load()
	if err != nil {
		return rep, err
	}
	found := scan(data, r.size)
	rep.Records = len(found)
	if len(found) == 0 {
		rep.Foreign = int64(len(data))
		return rep, nil
	}
	last := found[len(found)-1]
	rep.Missing = int(last.Number - found[0].Number + 1 - uint64(len(found)))
	r.next, r.off = last.Number+1, last.end%r.size
	number, whole := peek(data, r.size, r.off)
	rep.Torn = number == r.next && !whole
	return rep, nil
}

// load reads the file; what lies beyond the circle is not ours.
func (r *Ring) load() ([]byte, error) {
	return io.ReadAll(io.NewSectionReader(r.f, 0, r.size))
}

// Reserve gives the next record its number and its place. It makes no system
// call. The caller writes next; one that does not leaves a hole.
func (r *Ring) Reserve(payload int) Slot {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := Slot{Number: r.next, off: r.off}
	r.next++
	r.off = (r.off + footprint(payload)) % r.size
	return s
}

// footprint is how many bytes of the circle a record takes.
func footprint(payload int) int64 { return int64(header+payload+align-1) / align * align }

// Write writes a record at its place. The payload has the length that the slot
// was reserved for, at most MaxPayload.
func (r *Ring) Write(s Slot, at time.Time, payload []byte) error {
	if len(payload) > MaxPayload {
		return fmt.Errorf("a record of %d bytes is more than %d", len(payload), MaxPayload)
	}
	buf := make([]byte, footprint(len(payload)))
	copy(buf, magic[:])
	binary.LittleEndian.PutUint32(buf[4:], uint32(len(payload)))
	binary.LittleEndian.PutUint64(buf[8:], s.Number)
	binary.LittleEndian.PutUint64(buf[16:], uint64(at.UnixNano()))
	copy(buf[header:], payload)
	binary.LittleEndian.PutUint32(buf[24:], checksum(buf, len(payload)))
	first := min(int64(len(buf)), r.size-s.off)
	if _, err := r.f.WriteAt(buf[:first], s.off); err != nil {
		return err
	}
	if first < int64(len(buf)) {
		_, err := r.f.WriteAt(buf[first:], 0)
		return err
	}
	return nil
}

func checksum(record []byte, payload int) uint32 {
	sum := crc32.Checksum(record[4:24], table)
	return crc32.Update(sum, table, record[header:header+payload])
}

// Read gives the whole records that keep wants, by ascending number. keep is
// asked before anything of a record is copied; nil wants all.
func (r *Ring) Read(keep func(number uint64, at time.Time) bool) ([]Record, error) {
	data, err := r.load()
	if err != nil {
		return nil, err
	}
	var out []Record
	for _, p := range scan(data, r.size) {
		if keep == nil || keep(p.Number, p.at) {
			out = append(out, Record{Number: p.Number, Time: p.at, Payload: slice(data, r.size, p.off+header, p.length)})
		}
	}
	return out, nil
}

// Close syncs and closes the file.
func (r *Ring) Close() error {
	err := r.f.Sync()
	if closed := r.f.Close(); err == nil {
		err = closed
	}
	return err
}

// place is where a whole record lies.
type place struct {
	Number   uint64
	at       time.Time
	off, end int64
	length   int
}

// scan finds the whole records in a circle, by ascending number. Behind what is
// none it goes on at the next place where one may begin.
func scan(data []byte, size int64) []place {
	var found []place
	for off := int64(0); off+header <= int64(len(data)) || off < int64(len(data)) && int64(len(data)) == size; {
		p, ok := parse(data, size, off)
		if !ok {
			off += align
			continue
		}
		found = append(found, p)
		off = p.end
	}
	slices.SortFunc(found, func(a, b place) int {
		switch {
		case a.Number < b.Number:
			return -1
		case a.Number > b.Number:
			return 1
		}
		return 0
	})
	// A number twice is a copy that somebody made; either is as good.
	return slices.CompactFunc(found, func(a, b place) bool { return a.Number == b.Number })
}

// parse reads the record at off, which may go on at the circle's beginning.
func parse(data []byte, size, off int64) (p place, ok bool) {
	head := slice(data, size, off, header)
	if head == nil || [4]byte(head) != magic || binary.LittleEndian.Uint32(head[28:]) != 0 {
		return p, false
	}
	length := int(binary.LittleEndian.Uint32(head[4:]))
	if length > MaxPayload {
		return p, false
	}
	record := slice(data, size, off, header+length)
	if record == nil || checksum(record, length) != binary.LittleEndian.Uint32(head[24:]) {
		return p, false
	}
	return place{
		Number: binary.LittleEndian.Uint64(head[8:]), length: length, off: off, end: off + footprint(length),
		at: time.Unix(0, int64(binary.LittleEndian.Uint64(head[16:]))),
	}, true
}

// peek looks at what begins at off: the number that its header has, and whether it is whole.
func peek(data []byte, size, off int64) (number uint64, whole bool) {
	head := slice(data, size, off, header)
	if head == nil || [4]byte(head) != magic {
		return 0, false
	}
	_, whole = parse(data, size, off)
	return binary.LittleEndian.Uint64(head[8:]), whole
}

// slice gives length bytes from off on, across the circle's end where the
// circle is full; nil where they are not there.
func slice(data []byte, size, off int64, length int) []byte {
	off %= size
	end := off + int64(length)
	switch {
	case end <= int64(len(data)):
		return data[off:end]
	case int64(len(data)) < size || off >= size || end-size > off:
		return nil
	}
	return append(slices.Clone(data[off:]), data[:end-size]...)
}
