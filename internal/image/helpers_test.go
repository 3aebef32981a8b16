package image_test

import (
	"context"
	"os/exec"

	"github.com/moby/moby/api/types/jsonstream"
)

type jsonMessage = jsonstream.Message

func command(ctx context.Context, name string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, name, args...)
}
