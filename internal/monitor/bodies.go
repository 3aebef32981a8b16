package monitor

// SignalBody is the body of wire.OpSignal.
type SignalBody struct {
	ID     ProcessID `json:"id"`
	Signal int       `json:"signal"`
}

// ResizeBody is the body of wire.OpResize; sizes in characters.
type ResizeBody struct {
	ID     ProcessID `json:"id"`
	Height uint32    `json:"height"`
	Width  uint32    `json:"width"`
}
