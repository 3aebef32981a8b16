package users

import (
	"fmt"
	"sync"

	"github.com/containerd/errdefs"
)

// Pool gives blocks of ids to containers, to each its own.
type Pool struct {
	mu    sync.Mutex
	ids   Range
	host  []Range
	held  map[uint32]string // whose the block is, by its first id
	named map[string]uint32
	next  uint32
}

// Open makes a pool of the range, without what the host's users have and without
// the blocks of others, such as the daemon's own mapping.
func (f Files) Open(ids Range, others ...Range) (*Pool, error) {
	host, err := f.taken()
	if err != nil {
		return nil, err
	}
	return &Pool{ids: ids, host: append(host, others...), held: map[uint32]string{}, named: map[string]uint32{}}, nil
}

// Take gives a container a block. One that was given back is the last to be
// given again, since files on binds may still have its ids.
func (p *Pool) Take(container string) (uint32, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	blocks := p.ids.Count / Block
	for range blocks {
		first := p.ids.First + p.next*Block
		p.next = (p.next + 1) % blocks
		if _, taken := p.held[first]; taken || p.hosts(first) {
			continue
		}
		p.held[first], p.named[container] = container, first
		return first, nil
	}
	return 0, errdefs.ErrResourceExhausted.WithMessage(fmt.Sprintf(
		"no ids are left for a user namespace: userns-range has %d blocks of %d; remove containers or set a larger one", blocks, Block))
}

func (p *Pool) hosts(first uint32) bool {
	for _, r := range p.host {
		if uint64(first) < uint64(r.First)+uint64(r.Count) && uint64(r.First) < uint64(first)+Block {
			return true
		}
	}
	return false
}

// Hold claims the block of a container that the daemon finds at its start.
func (p *Pool) Hold(container string, first uint32) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if other, taken := p.held[first]; taken && other != container {
		return fmt.Errorf("the ids from %d are those of container %s", first, other)
	}
	p.held[first], p.named[container] = container, first
	if at := (first - p.ids.First) / Block; first >= p.ids.First && at < p.ids.Count/Block && at >= p.next {
		p.next = (at + 1) % (p.ids.Count / Block)
	}
	return nil
}

// Release gives back what a container has, if anything.
func (p *Pool) Release(container string) {
	if p == nil {
		return // an engine without ids to give
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if first, ok := p.named[container]; ok {
		delete(p.held, first)
		delete(p.named, container)
	}
}
