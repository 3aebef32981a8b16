package program

import (
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestAChildThatHangsIsEnded(t *testing.T) {
	old := patience
	patience = 100 * time.Millisecond
	defer func() { patience = old }()
	for what, hang := range map[string]func(p *Program){
		"waits for ever": func(p *Program) { p.Call(unix.SYS_PPOLL, Num(0), Num(0), Num(0), Num(0)) },
		"was stopped": func(p *Program) {
			self := p.FD("self")
			p.Call(unix.SYS_GETPID).Into(self)
			p.Call(unix.SYS_KILL, R(self), Num(unix.SIGSTOP))
		},
	} {
		began := time.Now()
		err := run1(t, build(nil, hang))
		if !errors.Is(err, unix.ETIMEDOUT) || time.Since(began) > 5*time.Second {
			t.Errorf("%s: %v after %v", what, err, time.Since(began))
		}
	}
}
