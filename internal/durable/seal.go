package durable

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
)

// ErrDamaged is what a sealed text that is not as it was written is.
var ErrDamaged = errors.New("its checksum is not that of its content")

const sealMark = "\ncrc32c:"

// sealSize is the mark, eight hex digits and a newline.
const sealSize = len(sealMark) + 8 + 1

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Seal returns data with a last line that tells a change of any byte. The
// context, such as the text's name, is covered by it and is not in it.
func Seal(context string, data []byte) []byte {
	out := make([]byte, 0, len(data)+sealSize)
	out = append(append(out, data...), sealMark...)
	return append(hex.AppendEncode(out, sum(context, data)), '\n')
}

// Unseal returns the data that Seal was given, or ErrDamaged. Data without a
// seal, as earlier versions wrote it, is returned as it is: whoever decodes it
// finds a seal that is not whole behind it.
func Unseal(context string, sealed []byte) ([]byte, error) {
	n := len(sealed) - sealSize
	if n < 0 || !bytes.HasPrefix(sealed[n:], []byte(sealMark)) {
		return sealed, nil
	}
	data := sealed[:n]
	if got := sealed[n+len(sealMark) : len(sealed)-1]; string(got) != hex.EncodeToString(sum(context, data)) || sealed[len(sealed)-1] != '\n' {
		return nil, fmt.Errorf("%w: %d bytes that end with %q", ErrDamaged, len(sealed), got)
	}
	return data, nil
}

func sum(context string, data []byte) []byte {
	crc := crc32.Update(crc32.Checksum([]byte(context), castagnoli), castagnoli, data)
	return []byte{byte(crc >> 24), byte(crc >> 16), byte(crc >> 8), byte(crc)}
}
