package edge

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"reflect"
	"strings"
)

// MaxBody bounds a JSON body, in bytes. The largest real ones, a container's
// configuration with a long environment, stay far below.
const MaxBody = 8 << 20

// maxDrain is how much of a refused body is read and dropped, in bytes.
const maxDrain = 64 << 20

// drain reads what is left of a body: a client that sends all before it reads
// the answer would else meet a closed connection. Of a body that was taken in
// nothing is left.
func drain(body io.Reader) { _, _ = io.CopyN(io.Discard, body, maxDrain) }

// Body reads the JSON body of a request into v: one value of type
// application/json and nothing behind it. Unknown fields are ignored.
func Body(w http.ResponseWriter, r *http.Request, v any) error {
	_, err := body(w, r, v, true)
	return err
}

// OptionalBody is Body where there may be none, and says whether there was.
func OptionalBody(w http.ResponseWriter, r *http.Request, v any) (bool, error) {
	return body(w, r, v, false)
}

func body(w http.ResponseWriter, r *http.Request, v any, must bool) (bool, error) {
	if r.ContentLength == 0 || r.Body == nil {
		if must {
			return false, Invalid("invalid JSON: got EOF while reading request body")
		}
		return false, nil
	}
	kind := r.Header.Get("Content-Type")
	if media, _, err := mime.ParseMediaType(kind); err != nil || media != "application/json" {
		return false, Invalid(fmt.Sprintf("unsupported Content-Type header (%s): must be 'application/json'", kind))
	}
	defer drain(r.Body)
	dec := json.NewDecoder(http.MaxBytesReader(w, io.NopCloser(r.Body), MaxBody))
	if err := dec.Decode(v); err != nil {
		if errors.Is(err, io.EOF) && !must {
			return false, nil
		}
		return false, explain(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		if isTooLarge(err) {
			return false, err
		}
		return false, Invalid("unexpected content after JSON")
	}
	return true, nil
}

// explain says in a person's words what is wrong with a JSON body.
func explain(err error) error {
	if isTooLarge(err) {
		return fmt.Errorf("request body is larger than %d bytes: %w", MaxBody, err)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return Invalid("invalid JSON: got EOF while reading request body")
	}
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		if wrong.Field == "" {
			return Invalid(fmt.Sprintf("invalid JSON: got %s where %s is expected", wrong.Value, jsonName(wrong.Type)))
		}
		return Invalid(fmt.Sprintf("invalid JSON: field %s: got %s where %s is expected", embedded.Replace(wrong.Field), wrong.Value, jsonName(wrong.Type)))
	}
	return Invalid("invalid JSON: " + err.Error())
}

// embedded are names of Go types that the decoder puts into a field's path and
// that are not in the JSON.
var embedded = strings.NewReplacer("CreateRequest.Config.", "", "CreateRequest.", "", "Resources.", "")

// jsonName is a Go type as one who writes JSON knows it.
func jsonName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return jsonName(t.Elem())
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a string"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Map, reflect.Struct:
		return "an object"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return "a whole number"
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "a whole number, not negative"
	case reflect.Float32, reflect.Float64:
		return "a number"
	default:
		return t.String()
	}
}
