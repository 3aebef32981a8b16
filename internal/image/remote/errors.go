package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	remoteerrors "github.com/containerd/containerd/v2/core/remotes/errors"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
)

// ErrWrongContent marks content that is not what the manifest promised; asking again
// does not help.
var ErrWrongContent = errors.New("the registry sent wrong content")

// Said gives an error the text and class for people, and keeps the cause.
func Said(class error, cause error, format string, args ...any) error {
	return &message{class: class, cause: cause, text: fmt.Sprintf(format, args...)}
}

type message struct {
	class, cause error
	text         string
}

func (m *message) Error() string { return m.text }

func (m *message) Unwrap() []error {
	if m.cause == nil {
		return []error{m.class}
	}
	return []error{m.class, m.cause}
}

func statusError(resp *http.Response) error {
	return remoteerrors.ErrUnexpectedStatus{
		Status: resp.Status, StatusCode: resp.StatusCode,
		RequestURL: resp.Request.URL.Redacted(), RequestMethod: resp.Request.Method,
	}
}

// Content is the verb of Explain for a pull whose manifest is known.
const Content = "content"

// Explain turns what went wrong with a registry into Docker's words and class.
func Explain(ref reference.Named, verb string, err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	if _, ok := errors.AsType[*message](err); ok {
		return err
	}
	resolved := verb == Content
	if resolved {
		verb = "pull"
	}
	name := reference.FamiliarName(ref)
	if html, ok := errors.AsType[*HTMLError](err); ok {
		return Said(errdefs.ErrInvalidArgument, err, "registry %v", html)
	}
	status, hasStatus := errors.AsType[remoteerrors.ErrUnexpectedStatus](err)
	switch {
	case errors.Is(err, docker.ErrInvalidAuthorization),
		hasStatus && (status.StatusCode == http.StatusUnauthorized || status.StatusCode == http.StatusForbidden):
		return denied(name, verb, status, err)
	case errdefs.IsNotFound(err), hasStatus && status.StatusCode == http.StatusNotFound:
		if resolved && !hasStatus { // something of ours
			return Said(errdefs.ErrUnavailable, err, "pull of %s: %v", name, err)
		}
		if verb == "push" {
			return Said(errdefs.ErrNotFound, err, "push of %s: the registry does not know the repository or what was uploaded: %v", name, registryWords(status, err))
		}
		return Said(errdefs.ErrNotFound, err, "manifest for %s not found: manifest unknown", reference.FamiliarString(ref))
	case hasStatus && status.StatusCode == http.StatusTooManyRequests:
		return Said(errdefs.ErrResourceExhausted, err, "toomanyrequests: %s limits how often you may %s: %s", HostOf(ref), verb, registryWords(status, err))
	case hasStatus:
		return Said(errdefs.ErrUnavailable, err, "%s of %s: registry %s answered %s to %s: %s", verb, name, HostOf(ref), status.Status, status.RequestMethod, registryWords(status, err))
	case errdefs.IsInvalidArgument(err), errdefs.IsNotImplemented(err), errdefs.IsFailedPrecondition(err):
		return err
	}
	return Said(errdefs.ErrUnavailable, err, "%s of %s: %v", verb, name, err)
}

func denied(name, verb string, status remoteerrors.ErrUnexpectedStatus, err error) error {
	if verb == "push" {
		return Said(errdefs.ErrPermissionDenied, err, "push access denied for %s, repository does not exist or may require 'docker login': denied: %s", name, registryWords(status, nil))
	}
	return Said(errdefs.ErrNotFound, err, "pull access denied for %s, repository does not exist or may require 'docker login': denied: %s", name, registryWords(status, nil))
}

// registryWords is what the registry itself said, as the distribution
// specification's error body, in one bounded line.
func registryWords(status remoteerrors.ErrUnexpectedStatus, err error) string {
	var body struct {
		Errors []struct{ Code, Message string } `json:"errors"`
	}
	if json.Unmarshal(status.Body, &body) == nil && len(body.Errors) > 0 {
		var words []string
		for _, e := range body.Errors {
			words = append(words, strings.TrimPrefix(strings.ToLower(e.Code)+": "+e.Message, ": "))
		}
		return oneLine(strings.Join(words, "; "))
	}
	if err != nil {
		return oneLine(err.Error())
	}
	return "requested access to the resource is denied"
}

func oneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	return s[:min(len(s), 512)]
}

// ErrorStatus is the HTTP status in an error, where the registry answered.
func ErrorStatus(err error) (int, bool) {
	s, ok := errors.AsType[remoteerrors.ErrUnexpectedStatus](err)
	return s.StatusCode, ok && s.StatusCode < http.StatusInternalServerError && s.StatusCode != http.StatusRequestTimeout
}
