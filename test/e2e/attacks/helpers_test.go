package attacks

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"testing"
)

func checksum(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
