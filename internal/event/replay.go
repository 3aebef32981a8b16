package event

import (
	"context"
	"encoding/json"
	"time"

	"github.com/moby/moby/api/types/events"
)

// past is what a subscriber wants of the file.
type past struct {
	wanted bool
	since  time.Time
	// before is the number of the first message that is in memory, 0 where none is.
	before uint64
}

// replay yields what the file has, with gaps where numbers are missing; it
// reports false where the reading is over.
func (b *Bus) replay(ctx context.Context, s *subscriber, old past, yield func(events.Message) bool) bool {
	select {
	case b.reading <- struct{}{}:
	case <-ctx.Done():
		return false
	}
	var last uint64
	var missing []int // beside each record, how many are missing before it
	hole := 0
	records, err := b.file.Read(func(number uint64, at time.Time) bool {
		if old.before != 0 && number >= old.before {
			return false
		}
		if last != 0 {
			hole += int(number - last - 1)
		}
		last = number
		if at.Before(old.since) {
			hole = 0 // what is missing among what was not asked for is not missed
			return false
		}
		missing = append(missing, hole)
		hole = 0
		return true
	})
	<-b.reading
	if err != nil {
		b.opt.Log.Error("the file of events cannot be read", "err", err)
		return yield(b.gap(0, "unreadable"))
	}
	for i, r := range records {
		if missing[i] > 0 && !yield(b.gap(missing[i], "damaged")) {
			return false
		}
		var m events.Message
		if json.Unmarshal(r.Payload, &m) != nil || !s.matches(m) {
			continue
		}
		if ctx.Err() != nil || !yield(m) {
			return false
		}
	}
	if last != 0 && old.before > last+1 {
		return yield(b.gap(int(old.before-last-1), "damaged"))
	}
	return true
}

// recent is how many of the last messages Told looks through: what a daemon that
// is killed has on record and not yet told is of its last moments.
const recent = 256

// Told gives what answers, of the messages in the file when it is called,
// whether an actor's action since a time was told. What may be older than the
// messages that are looked through is taken as told, as all is without a file;
// the zero time asks for any time.
func (b *Bus) Told() func(actor string, action events.Action, since time.Time) bool {
	type act struct {
		actor  string
		action events.Action
	}
	told := map[act]time.Time{}
	var oldest time.Time
	if b.file == nil {
		return func(string, events.Action, time.Time) bool { return true }
	}
	var numbers []uint64
	records, err := b.file.Read(func(n uint64, _ time.Time) bool {
		numbers = append(numbers, n)
		return false
	})
	if err == nil && len(numbers) > 0 {
		from := numbers[max(0, len(numbers)-recent)]
		records, err = b.file.Read(func(n uint64, _ time.Time) bool { return n >= from })
	}
	for i, r := range records {
		if i == 0 || r.Time.Before(oldest) {
			oldest = r.Time
		}
		var m events.Message
		if json.Unmarshal(r.Payload, &m) == nil && told[act{m.Actor.ID, m.Action}].Before(r.Time) {
			told[act{m.Actor.ID, m.Action}] = r.Time
		}
	}
	return func(actor string, action events.Action, since time.Time) bool {
		at, found := told[act{actor, action}]
		switch {
		case err != nil || len(records) == 0:
			return true
		case since.IsZero():
			return found
		}
		return since.Before(oldest) || found && !at.Before(since)
	}
}
