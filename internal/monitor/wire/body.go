package wire

// Protocol is raised when an older peer could misread a newer one's messages;
// fields that are only added do not raise it.
const Protocol = 1

// Hello is what each side says first.
type Hello struct {
	Protocol int    `json:"protocol"`
	Version  string `json:"version"`
	Pid      int    `json:"pid"`
}
