package wire

// Protocol is raised when an older peer could misread a newer one's messages;
// fields that an older one may overlook do not raise it. Each side goes on in
// the older one's protocol, down to OldestProtocol, and does without what that
// lacks.
//
//	1  the first
//	2  StartRequest.Runtime, which 1 would overlook and start with the built-in one
//	3  OpUpgrade
const (
	Protocol       = 3
	OldestProtocol = 1
	// RuntimesSince is the protocol that knows other runtimes.
	RuntimesSince = 2
	// UpgradeSince is the protocol whose monitors can be replaced in place.
	UpgradeSince = 3
)

// Hello is what each side says first.
type Hello struct {
	Protocol int    `json:"protocol"`
	Version  string `json:"version"`
	Pid      int    `json:"pid"`
}
