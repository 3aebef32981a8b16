package image

import (
	"context"

	"hoy/internal/image/store"
	"hoy/internal/space"
)

// room asks for space before something is written, and clears up behind what
// failed.
type room struct {
	disk  *space.Disk
	store *store.Store
}

// failed ends the lease of what failed and removes all that it wrote; what is
// what was being done. On a full disk the error has the numbers.
func (r *room) failed(ctx context.Context, what string, done func(), err error) error {
	if space.IsFull(err) {
		r.disk.Ease() // the removal writes a record too
	}
	done()
	r.store.Discard(ctx)
	return r.disk.Explain(what, err)
}

// commitShare is what a commit needs at least for each byte of its container's
// layer, in halves: the files once more, and an archive of them that may be
// half as large where files are small.
const commitShare = 3

func (r *room) forCommit(what string, layer int64) error {
	return r.disk.Need(what, layer*commitShare/2)
}
