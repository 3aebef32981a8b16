package hello

import (
	"bytes"
	"debug/elf"
	"testing"
)

func TestProgramsAreValidExecutables(t *testing.T) {
	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		data, err := program(arch, Text)
		if err != nil {
			t.Fatal(err)
		}
		f, err := elf.NewFile(bytes.NewReader(data))
		if err != nil {
			t.Fatalf("%s: %v", arch, err)
		}
		p := f.Progs[0]
		if f.Machine != machine || f.Type != elf.ET_EXEC || len(f.Progs) != 1 || p.Filesz != uint64(len(data)) || f.Entry < p.Vaddr || f.Entry >= p.Vaddr+p.Filesz {
			t.Errorf("%s: header %+v, segment %+v", arch, f.FileHeader, p.ProgHeader)
		}
		again, err := program(arch, Text)
		if err != nil || !bytes.Equal(data, again) {
			t.Errorf("%s: not reproducible", arch)
		}
	}
	if _, err := program("mips", Text); err == nil {
		t.Error("a program for an unknown machine")
	}
}

func TestARM64Encoding(t *testing.T) {
	// From the Arm architecture reference: movz x0, #1; movk x1, #0x40, lsl 16; svc #0.
	code := encodeARM64(0x400123, 7)
	for i, want := range map[int]uint32{0: 0xd2800020, 1: 0xd2802461, 2: 0xf2a00801, 5: 0xd2800808, 6: 0xd4000001} {
		b := code[4*i:]
		if got := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24; got != want {
			t.Errorf("instruction %d is %#x, want %#x", i, got, want)
		}
	}
}
