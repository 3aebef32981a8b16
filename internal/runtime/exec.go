package runtime

import "errors"

// StartExec starts a further process in a running container.
func StartExec(e *Exec) (*Process, error) {
	return nil, fail("exec", errors.ErrUnsupported)
}
