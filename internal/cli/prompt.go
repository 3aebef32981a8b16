package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Confirm asks a question that only "y" or "yes" answers with true. The end of
// the input answers no.
func (a *App) Confirm(question string) (bool, error) {
	fmt.Fprintf(a.Out, "%s [y/N] ", strings.TrimSpace(question))
	answer, err := bufio.NewReader(io.LimitReader(a.In, 1024)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	if errors.Is(err, io.EOF) {
		fmt.Fprintln(a.Out)
	}
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes", nil
}
