// Package hello is the image hoy/hello, made by this code and not fetched from
// anywhere: one static program of a few hundred bytes that prints a greeting.
package hello

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// base is where the one segment is mapped; the file is mapped whole.
const base = 0x400000

// headers is the size of the ELF header (64) and one program header (56).
const headers = 64 + 56

// ELF machine numbers and the architectures they are for.
var machines = map[string]uint16{"amd64": 62, "arm64": 183}

// program makes a static Linux executable that writes text to its standard
// output and exits with 0.
func program(arch, text string) ([]byte, error) {
	machine, ok := machines[arch]
	if !ok {
		return nil, fmt.Errorf("no built-in program for %s", arch)
	}
	// The length of the code does not depend on the address, so two passes do.
	code := encode(arch, 0, len(text))
	code = encode(arch, base+headers+uint64(len(code)), len(text))
	size := uint64(headers + len(code) + len(text))

	var b bytes.Buffer
	b.Write([]byte{0x7f, 'E', 'L', 'F', 2 /* 64 bit */, 1 /* little endian */, 1 /* version */, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	put := func(v any) { _ = binary.Write(&b, binary.LittleEndian, v) }
	put(uint16(2)) // type: executable
	put(machine)
	put(uint32(1))              // version
	put(uint64(base + headers)) // entry
	put(uint64(64))             // program headers' offset
	put(uint64(0))              // no section headers
	put(uint32(0))              // flags
	put([6]uint16{64, 56, 1, 0, 0, 0})

	put(uint32(1)) // PT_LOAD
	put(uint32(5)) // readable, executable
	put([6]uint64{0, base, base, size, size, 0x10000})

	b.Write(code)
	b.WriteString(text)
	return b.Bytes(), nil
}

func encode(arch string, text uint64, length int) []byte {
	if arch == "arm64" {
		return encodeARM64(text, length)
	}
	return encodeAMD64(text, length)
}

// encodeAMD64: write(1, text, length); exit(0). All registers are loaded with
// 32-bit immediates, which clear the upper half; base is below 4 GiB.
func encodeAMD64(text uint64, length int) []byte {
	var c []byte
	imm := func(opcode byte, v uint32) { c = binary.LittleEndian.AppendUint32(append(c, opcode), v) }
	imm(0xb8, 1)              // mov eax, 1 (write)
	imm(0xbf, 1)              // mov edi, 1
	imm(0xbe, uint32(text))   // mov esi, text
	imm(0xba, uint32(length)) // mov edx, length
	c = append(c, 0x0f, 0x05) // syscall
	imm(0xb8, 60)             // mov eax, 60 (exit)
	c = append(c, 0x31, 0xff) // xor edi, edi
	return append(c, 0x0f, 0x05)
}

// encodeARM64 is the same for AArch64: system call number in x8.
func encodeARM64(text uint64, length int) []byte {
	var c []byte
	word := func(v uint32) { c = binary.LittleEndian.AppendUint32(c, v) }
	// movz x<reg>, #imm16, lsl #(16*shift) and movk likewise.
	movz := func(reg, v, shift uint32) { word(0xd2800000 | shift<<21 | (v&0xffff)<<5 | reg) }
	movk := func(reg, v, shift uint32) { word(0xf2800000 | shift<<21 | (v&0xffff)<<5 | reg) }
	movz(0, 1, 0)
	movz(1, uint32(text), 0)
	movk(1, uint32(text>>16), 1)
	movz(2, uint32(length), 0)
	movk(2, uint32(length>>16), 1)
	movz(8, 64, 0)   // write
	word(0xd4000001) // svc #0
	movz(0, 0, 0)
	movz(8, 93, 0)   // exit
	word(0xd4000001) // svc #0
	return c
}
