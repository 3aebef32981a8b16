package jsonfile

import (
	"encoding/binary"
	"unicode/utf8"
)

const (
	ones = 0x0101010101010101
	tops = 0x8080808080808080
	hex  = "0123456789abcdef"
)

// special says whether any of 8 bytes cannot stand as it is inside the JSON
// string: controls, bytes from 0x80 on, and " & < > \.
//
// For a byte that is 0 in v, (v-ones)&^v has its top bit set; a borrow sets
// further bits only above such a byte, so the answer "any" is exact. Bytes that
// differ in one bit are compared together with that bit set: " and & in 0x04,
// < and > in 0x02.
func special(x uint64) bool {
	control := (x - 0x20*ones) &^ x
	quote := (x | 0x04*ones) ^ 0x26*ones
	angle := (x | 0x02*ones) ^ 0x3e*ones
	slash := x ^ 0x5c*ones
	found := x | control | (quote-ones)&^quote | (angle-ones)&^angle | (slash-ones)&^slash
	return found&tops != 0
}

// plain is special for a single byte, negated.
func plain(b byte) bool {
	return b >= 0x20 && b < utf8.RuneSelf && b != '"' && b != '\\' && b != '<' && b != '>' && b != '&'
}

// plainPrefix is how many bytes of s need no escape.
func plainPrefix(s []byte) int {
	i := 0
	for i+8 <= len(s) && !special(binary.LittleEndian.Uint64(s[i:])) {
		i += 8
	}
	for i < len(s) && plain(s[i]) {
		i++
	}
	return i
}

// appendEscaped appends s as the inside of a JSON string, byte for byte as
// Docker's json-file driver does: what is not UTF-8 becomes \ufffd, and of the
// short escapes only \n and \r are used.
func appendEscaped(dst, s []byte) []byte {
	for {
		n := plainPrefix(s)
		dst = append(dst, s[:n]...)
		s = s[n:]
		if len(s) == 0 {
			return dst
		}
		b := s[0]
		if b < utf8.RuneSelf {
			switch b {
			case '"', '\\':
				dst = append(dst, '\\', b)
			case '\n':
				dst = append(dst, '\\', 'n')
			case '\r':
				dst = append(dst, '\\', 'r')
			default:
				dst = append(dst, '\\', 'u', '0', '0', hex[b>>4], hex[b&15])
			}
			s = s[1:]
			continue
		}
		r, size := utf8.DecodeRune(s)
		switch {
		case r == utf8.RuneError && size == 1:
			dst = append(dst, `\ufffd`...)
		case r == '\u2028' || r == '\u2029':
			dst = append(dst, `\u202`...)
			dst = append(dst, hex[r&15])
		default:
			dst = append(dst, s[:size]...)
		}
		s = s[size:]
	}
}
