package cli

import (
	"io"
	"os"

	"github.com/moby/term"
)

// Input is the stream a verb reads from. The zero Reader reads as empty.
type Input struct {
	io.Reader
	file *os.File
	tty  bool
}

// NewInput wraps r. Terminal features are on where r is an *os.File that is a
// terminal.
func NewInput(r io.Reader) *Input {
	in := &Input{Reader: r}
	if f, ok := r.(*os.File); ok {
		in.file, in.tty = f, term.IsTerminal(f.Fd())
	}
	return in
}

// IsTerminal reports whether the input is a terminal.
func (i *Input) IsTerminal() bool { return i.tty }

// FD returns the descriptor of the input, or the invalid one where it is no
// file.
func (i *Input) FD() uintptr { return fdOf(i.file) }

// Raw puts the terminal into raw mode and returns what restores it. It does
// nothing where the input is no terminal.
func (i *Input) Raw() (restore func(), err error) {
	if !i.tty {
		return func() {}, nil
	}
	state, err := term.SetRawTerminal(i.FD())
	if err != nil {
		return nil, err
	}
	return func() { _ = term.RestoreTerminal(i.FD(), state) }, nil
}

// Output is a stream a verb writes to.
type Output struct {
	io.Writer
	file *os.File
	tty  bool
}

// NewOutput wraps w as [NewInput] does.
func NewOutput(w io.Writer) *Output {
	out := &Output{Writer: w}
	if f, ok := w.(*os.File); ok {
		out.file, out.tty = f, term.IsTerminal(f.Fd())
	}
	return out
}

// IsTerminal reports whether the output is a terminal.
func (o *Output) IsTerminal() bool { return o.tty }

// FD returns the descriptor of the output, or the invalid one where it is no
// file.
func (o *Output) FD() uintptr { return fdOf(o.file) }

// Size returns rows and columns of the terminal, zeros where there is none.
func (o *Output) Size() (height, width uint) {
	if !o.tty {
		return 0, 0
	}
	ws, err := term.GetWinsize(o.FD())
	if err != nil || ws == nil {
		return 0, 0
	}
	return uint(ws.Height), uint(ws.Width)
}

// Width returns the terminal's columns, 0 where there is no terminal: full data
// is written then.
func (o *Output) Width() int {
	_, w := o.Size()
	return int(w)
}

// Color reports whether escape sequences for colours are welcome: a terminal
// that is not dumb, and no NO_COLOR (https://no-color.org).
func (o *Output) Color() bool {
	return o.tty && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

func fdOf(f *os.File) uintptr {
	if f == nil {
		return ^uintptr(0)
	}
	return f.Fd()
}
