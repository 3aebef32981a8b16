package undo

import (
	"context"
	"errors"
	"slices"
	"testing"
)

func TestRunIsReversedAndGoesOnAfterAnError(t *testing.T) {
	var got []string
	var s Stack
	boom := errors.New("boom")
	s.Push("a", func(context.Context) error { got = append(got, "a"); return nil })
	s.Push("b", func(context.Context) error { got = append(got, "b"); return boom })
	s.Push("c", func(context.Context) error { got = append(got, "c"); return nil })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Run(ctx); !errors.Is(err, boom) {
		t.Fatalf("Run = %v, want %v", err, boom)
	}
	if want := []string{"c", "b", "a"}; !slices.Equal(got, want) {
		t.Fatalf("order %v, want %v", got, want)
	}
	if err := s.Run(ctx); err != nil || len(got) != 3 {
		t.Fatalf("a second Run must do nothing: %v, %v", err, got)
	}
}

func TestStepsRunOnALiveContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var s Stack
	s.Push("a", func(ctx context.Context) error { return ctx.Err() })
	if err := s.Run(ctx); err != nil {
		t.Fatalf("a step saw its caller's cancellation: %v", err)
	}
}

func TestReleaseForgets(t *testing.T) {
	var s Stack
	s.Push("a", func(context.Context) error { t.Error("released step ran"); return nil })
	s.Release()
	if err := s.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
}
