package program

import (
	"fmt"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Arg is one argument of a system call.
type Arg struct {
	val  uintptr
	ptr  unsafe.Pointer
	reg  bool
	str  bool
	text string
	// words are those of a vector.
	words []string
}

// Num is a plain number.
func Num[T ~int | ~uint | ~uint32 | ~uint64 | ~uintptr | ~int32 | ~int64](n T) Arg {
	return Arg{val: uintptr(n)}
}

// Flag is a number with the name that text shows.
func Flag[T ~int | ~uint | ~uint32 | ~uint64 | ~uintptr](n T, name string) Arg {
	return Arg{val: uintptr(n), text: name}
}

// CWD is AT_FDCWD.
func CWD() Arg {
	at := unix.AT_FDCWD
	return Arg{val: uintptr(at), text: "AT_FDCWD"}
}

// R is the value of a register.
func R(r Reg) Arg { return Arg{val: uintptr(r), reg: true} }

// Str is a NUL-terminated string. One with a NUL inside ends there for the
// kernel; callers refuse such input.
func Str(s string) Arg {
	b := make([]byte, len(s)+1)
	copy(b, s)
	// The bytes live on the Go heap, which does not move; the program keeps them.
	ptr := unsafe.Pointer(&b[0])
	return Arg{val: uintptr(ptr), ptr: ptr, str: true, text: s}
}

// Mem is a pointer to memory that the kernel reads or fills; text is how it shows.
func Mem[T any](v *T, text string) Arg {
	ptr := unsafe.Pointer(v)
	return Arg{val: uintptr(ptr), ptr: ptr, text: text}
}

// Strings is a NULL-terminated vector of strings, as execve takes it.
func Strings(list []string, text string) Arg {
	vec := make([]*byte, len(list)+1)
	for i, s := range list {
		b := make([]byte, len(s)+1)
		copy(b, s)
		vec[i] = &b[0]
	}
	arg := Mem(&vec[0], text)
	arg.words = append(make([]string, 0, len(list)), list...)
	return arg
}

func (a Arg) render(p *Program) string {
	switch {
	case a.reg:
		return p.regs[a.val].name
	case a.str:
		return strconv.Quote(a.text)
	case a.text != "":
		return a.text
	case int64(a.val) < 0:
		return strconv.FormatInt(int64(a.val), 10)
	default:
		return strconv.FormatUint(uint64(a.val), 10)
	}
}

// Words joins the names of the bits in v, in the order of names; text only.
func Words(v uint64, names []Bit) string {
	var words []string
	for _, n := range names {
		if v&n.Value == n.Value && n.Value != 0 {
			words = append(words, n.Name)
			v &^= n.Value
		}
	}
	if v != 0 || len(words) == 0 {
		words = append(words, fmt.Sprintf("%#x", v))
	}
	return strings.Join(words, "|")
}

// Bit is one named bit of a flag word.
type Bit struct {
	Value uint64
	Name  string
}
