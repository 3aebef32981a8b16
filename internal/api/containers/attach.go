package containers

import (
	"io"
	"net/http"

	"github.com/moby/moby/api/pkg/stdcopy"
	"golang.org/x/net/websocket"

	"hoy/internal/api/edge"
	"hoy/internal/api/stream"
	"hoy/internal/request"
)

func attachOptions(r *http.Request) (request.Attach, []byte, error) {
	q := edge.QueryOf(r)
	keys, err := stream.Keys(q.Get("detachKeys"))
	return request.Attach{
		Stdin: q.Bool("stdin"), Stdout: q.Bool("stdout"), Stderr: q.Bool("stderr"),
		Logs: q.Bool("logs"), Stream: q.Bool("stream"),
	}, keys, err
}

func (rt router) attach(w http.ResponseWriter, r *http.Request) error {
	opt, keys, err := attachOptions(r)
	if err != nil {
		return err
	}
	st, err := rt.b.Attach(r.Context(), ref(r), opt)
	if err != nil {
		return err
	}
	client, err := stream.Hijack(w, r, stream.ContentType(r, st.TTY))
	if err != nil {
		closeStream(st)
		return err
	}
	_ = client.Join(st, opt.Stdin, keys)
	return nil
}

func closeStream(st *request.Stream) {
	if st.Conn != nil {
		_ = st.Conn.Close()
	}
}

// attachWebsocket carries the streams in WebSocket messages: output without
// frames, both streams mixed, as Docker does.
func (rt router) attachWebsocket(w http.ResponseWriter, r *http.Request) error {
	opt, keys, err := attachOptions(r)
	if err != nil {
		return err
	}
	opt.Stream = true
	if edge.Before(r, 42) {
		opt.Stdin, opt.Stdout, opt.Stderr = true, true, true
	}
	st, err := rt.b.Attach(r.Context(), ref(r), opt)
	if err != nil {
		return err
	}
	defer closeStream(st)
	serve := websocket.Server{Handler: func(ws *websocket.Conn) {
		ws.PayloadType = websocket.BinaryFrame
		if edge.Before(r, 28) {
			ws.PayloadType = websocket.TextFrame
		}
		joinWebsocket(ws, st, opt.Stdin, keys)
	}}
	serve.ServeHTTP(w, r)
	return nil
}

func joinWebsocket(ws *websocket.Conn, st *request.Stream, stdin bool, keys []byte) {
	unframe := func(from io.Reader) {
		if st.TTY {
			_, _ = io.Copy(ws, from)
			return
		}
		_, _ = stdcopy.StdCopy(ws, ws, from)
	}
	if st.Replay != nil {
		pr, pw := io.Pipe()
		go func() {
			_ = pw.CloseWithError(st.Replay(func(p []byte) error { _, err := pw.Write(p); return err }))
		}()
		unframe(pr)
		_ = pr.Close()
	}
	if st.Conn == nil {
		return
	}
	go func() {
		// Without input the reading only finds out when the client leaves.
		_ = stream.Input(ws, st, stdin, keys)
		_ = st.Conn.Close()
	}()
	unframe(st.Conn)
}
