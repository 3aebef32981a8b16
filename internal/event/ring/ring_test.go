package ring

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

const small = 1 << 20

func open(t testing.TB, path string) (*Ring, Report) {
	t.Helper()
	r, rep, err := Open(path, small)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r, rep
}

func put(t testing.TB, r *Ring, payload []byte) Slot {
	t.Helper()
	s := r.Reserve(len(payload))
	if err := r.Write(s, time.Unix(0, int64(s.Number)), payload); err != nil {
		t.Fatal(err)
	}
	return s
}

// payload of record n: its own number and a length that varies.
func payload(n int) []byte {
	return append(fmt.Appendf(nil, "%d:", n), bytes.Repeat([]byte{byte(n)}, n*37%900)...)
}

// check wants the records to be what was written under their numbers.
func check(t testing.TB, r *Ring) []Record {
	t.Helper()
	all, err := r.Read(nil)
	if err != nil {
		t.Fatal(err)
	}
	last := uint64(0)
	for _, rec := range all {
		if rec.Number <= last || !bytes.Equal(rec.Payload, payload(int(rec.Number))) || rec.Time.UnixNano() != int64(rec.Number) {
			t.Fatalf("record %d after %d: %.20q", rec.Number, last, rec.Payload)
		}
		last = rec.Number
	}
	return all
}

func TestTheLastRecordsStayAcrossReopenings(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ring")
	written := 0
	for round := range 12 {
		r, rep := open(t, path)
		if rep.Torn || rep.Missing != 0 || rep.Foreign != 0 {
			t.Fatalf("round %d: %+v", round, rep)
		}
		for range 700 {
			written++
			if s := put(t, r, payload(written)); s.Number != uint64(written) {
				t.Fatalf("number %d, want %d", s.Number, written)
			}
		}
		all := check(t, r)
		if newest := all[len(all)-1].Number; newest != uint64(written) {
			t.Fatalf("the newest is %d of %d", newest, written)
		}
		if span := all[len(all)-1].Number - all[0].Number + 1; span != uint64(len(all)) {
			t.Fatalf("%d records of a span of %d", len(all), span)
		}
		if round > 5 && len(all) < 1500 {
			t.Fatalf("only %d records in a full ring", len(all))
		}
	}
	if st, err := os.Stat(path); err != nil || st.Size() != small {
		t.Fatalf("%v %v", st.Size(), err)
	}
}

func TestATornTailIsReportedAndOverwritten(t *testing.T) {
	for _, wrapped := range []int{10, 3000} {
		path := filepath.Join(t.TempDir(), "ring")
		r, _ := open(t, path)
		for i := range wrapped {
			put(t, r, payload(i+1))
		}
		// The last record is written up to its middle, as by a process that is killed.
		last := payload(wrapped + 1)
		s := r.Reserve(len(last))
		if err := r.Write(s, time.Unix(0, int64(s.Number)), last); err != nil {
			t.Fatal(err)
		}
		if _, err := r.f.WriteAt(make([]byte, 16), (s.off+header)%small); err != nil {
			t.Fatal(err)
		}
		again, rep := open(t, path)
		if !rep.Torn || rep.Missing != 0 {
			t.Errorf("after %d: %+v", wrapped, rep)
		}
		if next := put(t, again, last); next.Number != uint64(wrapped+1) || next.off != s.off {
			t.Errorf("goes on at %+v, want %+v", next, s)
		}
		check(t, again)
	}
}

func TestAHoleIsCounted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ring")
	r, _ := open(t, path)
	put(t, r, payload(1))
	r.Reserve(40) // who had it was killed before it wrote
	put(t, r, payload(3))
	again, rep := open(t, path)
	if rep.Records != 2 || rep.Missing != 1 {
		t.Errorf("%+v", rep)
	}
	if all := check(t, again); len(all) != 2 {
		t.Errorf("%d records", len(all))
	}
}

func TestManyWriters(t *testing.T) {
	r, _ := open(t, filepath.Join(t.TempDir(), "ring"))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				body := bytes.Repeat([]byte("x"), 300)
				s := r.Reserve(len(body))
				if err := r.Write(s, time.Now(), body); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	all, err := r.Read(nil)
	if err != nil || len(all) != 800 {
		t.Errorf("%d records, %v", len(all), err)
	}
}

func TestAnyDamageCostsOnlyWhatItTouches(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ring")
	r, _ := open(t, path)
	for i := range 3000 {
		put(t, r, payload(i+1))
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before := len(check(t, r))
	random := rand.New(rand.NewPCG(1, 2))
	for range 60 {
		damaged := bytes.Clone(whole)
		switch random.IntN(3) {
		case 0:
			damaged = damaged[:random.IntN(len(damaged))]
		case 1:
			clear(damaged[random.IntN(len(damaged)):][:1])
			damaged[random.IntN(len(damaged))] ^= 0x40
		case 2:
			from := random.IntN(len(damaged) - 5000)
			clear(damaged[from : from+5000])
		}
		other := filepath.Join(t.TempDir(), "ring")
		if err := os.WriteFile(other, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		d, rep := open(t, other)
		left := check(t, d)
		if rep.Records != len(left) || len(damaged) == len(whole) && len(left) < before-200 {
			t.Errorf("%d of %d left, %+v", len(left), before, rep)
		}
		s := put(t, d, []byte("more"))
		if got, err := d.Read(func(n uint64, _ time.Time) bool { return n == s.Number }); err != nil || len(got) != 1 {
			t.Errorf("what was written after the damage: %v %v", got, err)
		}
	}
}

func TestRefusals(t *testing.T) {
	if _, _, err := Open(filepath.Join(t.TempDir(), "ring"), 100); err == nil {
		t.Error("a ring of 100 bytes")
	}
	r, _ := open(t, filepath.Join(t.TempDir(), "ring"))
	big := make([]byte, MaxPayload+1)
	if err := r.Write(r.Reserve(len(big)), time.Now(), big); err == nil {
		t.Error("a record beyond the bound")
	}
}

// FuzzScan wants no bytes to make the decoder fail, go round for ever or hand
// out what has no right check.
func FuzzScan(f *testing.F) {
	path := filepath.Join(f.TempDir(), "ring")
	r, _ := open(f, path)
	for i := range 4 {
		put(f, r, payload(i+1))
	}
	seed, _ := os.ReadFile(path)
	f.Add(seed, uint16(0))
	f.Add([]byte("hoyE\xff\xff\xff\xff"), uint16(3))
	f.Fuzz(func(t *testing.T, data []byte, size uint16) {
		bound := int64(len(data)) + int64(size)*align
		bound -= bound % align
		if bound == 0 {
			return
		}
		data = data[:min(int64(len(data)), bound)]
		for _, p := range scan(data, bound) {
			if p.off%align != 0 || p.length > MaxPayload || slice(data, bound, p.off+header, p.length) == nil {
				t.Fatalf("%+v", p)
			}
		}
	})
}

func BenchmarkWrite(b *testing.B) {
	r, _ := open(b, filepath.Join(b.TempDir(), "ring"))
	body := bytes.Repeat([]byte("x"), 400)
	for b.Loop() {
		if err := r.Write(r.Reserve(len(body)), time.Unix(1, 0), body); err != nil {
			b.Fatal(err)
		}
	}
}
