package forward

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"hoy/internal/log"
	"hoy/internal/log/journal"
	"hoy/internal/log/options"
	"hoy/internal/log/syslog"
)

// sink is where entries go. Written and Taken count bytes; what was taken need
// not be sent again. A sink is used by one goroutine and ends with its context.
type sink interface {
	// Send takes an entry, which may wait for Flush.
	Send(e *log.Entry) error
	Buffered() int
	Flush() error
	Written() int64
	Taken() (int64, error)
	Close() error
}

// sinks are the drivers that forward.
var sinks = map[string]func(ctx context.Context, t *Target, journalSocket string) (sink, error){
	log.Syslog:   dialSyslog,
	log.Journald: dialJournal,
}

func dialSyslog(ctx context.Context, t *Target, _ string) (sink, error) {
	opt, err := syslog.Parse(t.Info.Config)
	if err != nil {
		return nil, err
	}
	tag, err := t.Info.Tag(options.DefaultTag)
	if err != nil {
		return nil, err
	}
	return orNil(syslog.Dial(ctx, opt, tag))
}

// orNil keeps a nil pointer from becoming an interface that is not nil.
func orNil[S interface {
	comparable
	sink
}](s S, err error) (sink, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}

func dialJournal(ctx context.Context, t *Target, socket string) (sink, error) {
	tag, err := t.Info.Tag(options.DefaultTag)
	if err != nil {
		return nil, err
	}
	extra, err := t.Info.ExtraAttributes(journal.Key)
	if err != nil {
		return nil, err
	}
	info := &t.Info
	// The epoch names what the ordinals count in: here a whole log, so that a
	// repeated entry can be told from another one.
	epoch := sha256.Sum256([]byte("epoch " + info.ContainerID))
	fixed := map[string]string{
		"CONTAINER_ID": info.ID(), "CONTAINER_ID_FULL": info.FullID(), "CONTAINER_NAME": info.Name(),
		"CONTAINER_TAG": tag, "IMAGE_NAME": info.ImageName(), "SYSLOG_IDENTIFIER": tag,
		"CONTAINER_LOG_EPOCH": hex.EncodeToString(epoch[:]),
	}
	maps.Copy(fixed, extra)
	f := &fields{id: info.ContainerID}
	for _, k := range slices.Sorted(maps.Keys(fixed)) {
		f.fixed = journal.AppendField(f.fixed, k, []byte(fixed[k]))
	}
	return orNil(journal.Dial(ctx, socket, f.append))
}

// fields makes the fields of Docker's driver.
type fields struct {
	id    string
	fixed []byte
	// parts are lines that came in pieces, by stream.
	parts map[string]*part
}

// part is where in a line in pieces an entry stands.
type part struct {
	id      string
	ordinal int
}

func (f *fields) append(dst []byte, e *log.Entry) []byte {
	text, whole := bytes.CutSuffix(e.Line, []byte{'\n'})
	priority := "6"
	if e.Stream == "stderr" {
		priority = "3"
	}
	dst = journal.AppendField(dst, "PRIORITY", []byte(priority))
	dst = journal.AppendField(dst, "MESSAGE", text)
	dst = append(dst, f.fixed...)
	dst = journal.AppendField(dst, "SYSLOG_TIMESTAMP", e.Time.AppendFormat(nil, time.RFC3339Nano))
	dst = journal.AppendField(dst, "CONTAINER_LOG_ORDINAL", strconv.AppendUint(nil, e.Seq+1, 10))
	p := f.parts[e.Stream]
	if whole && p == nil {
		return dst
	}
	if p == nil {
		id := sha256.Sum256(fmt.Appendf(nil, "%s %d", f.id, e.Seq))
		p = &part{id: hex.EncodeToString(id[:])}
		if f.parts == nil {
			f.parts = map[string]*part{}
		}
		f.parts[e.Stream] = p
	}
	p.ordinal++
	dst = journal.AppendField(dst, "CONTAINER_PARTIAL_ID", []byte(p.id))
	dst = journal.AppendField(dst, "CONTAINER_PARTIAL_ORDINAL", strconv.AppendInt(nil, int64(p.ordinal), 10))
	dst = journal.AppendField(dst, "CONTAINER_PARTIAL_LAST", strconv.AppendBool(nil, whole))
	if whole {
		delete(f.parts, e.Stream)
		return dst
	}
	return journal.AppendField(dst, "CONTAINER_PARTIAL_MESSAGE", []byte("true"))
}
