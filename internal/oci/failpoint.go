package oci

// failpoint lets a test make a step fail; outside of tests fail is nil.
type failpoint struct{ fail func(step string) error }

// at is called before each step that acquires something.
func (f *failpoint) at(step string) error {
	if f.fail == nil {
		return nil
	}
	return f.fail(step)
}
