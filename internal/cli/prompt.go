package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/docker/go-units"
	"github.com/moby/moby/client"
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

// Prune is what the prune verbs have in common: unless forced it warns of what
// goes and asks, then it lets remove do it and says how much room that made.
func (a *App) Prune(force bool, what string, remove func(api client.APIClient) (freed uint64, err error)) error {
	if !force {
		yes, err := a.Confirm("WARNING! This will remove " + what + ".\nAre you sure you want to continue?")
		if err != nil || !yes {
			return err
		}
	}
	api, err := a.Client()
	if err != nil {
		return err
	}
	freed, err := remove(api)
	if err != nil {
		return err
	}
	fmt.Fprintln(a.Out, "Total reclaimed space:", units.HumanSize(float64(freed)))
	return nil
}
