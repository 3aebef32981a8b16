package tee

import "io"

// Count calls report with how many bytes were read from r by then.
func Count(r io.Reader, report func(n int64)) io.Reader { return &counter{r: r, report: report} }

type counter struct {
	r      io.Reader
	n      int64
	report func(int64)
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	c.report(c.n)
	return n, err
}
