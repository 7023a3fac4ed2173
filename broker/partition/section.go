package partition

import "sync"

// section is the append section of what concerns a schedule: batches enter one at a time, and are
// applied to the schedule in the order in which they were written to the log. It has two stages, so
// that one batch can be written while the one before it is being applied. The zero value is empty.
type section struct {
	writing, applying sync.Mutex
}

// Lock enters the first stage and waits until the second is empty: the schedule knows of everything
// below the log's end, and until Unlock, nobody else will write or apply anything.
func (s *section) Lock() {
	s.writing.Lock()
	s.settle() // who is in the second stage came through the first, and nobody follows
}

// Unlock leaves the first stage.
func (s *section) Unlock() { s.writing.Unlock() }

// settle waits until what was written before is applied.
func (s *section) settle() {
	s.applying.Lock()
	s.applying.Unlock() //nolint:staticcheck // to have waited is the purpose
}

// enter enters the first stage, for who need not know what the schedule holds.
func (s *section) enter() passage {
	s.writing.Lock()
	return passage{s, &s.writing}
}

// enterSettled is Lock for who goes on to the second stage.
func (s *section) enterSettled() passage {
	s.Lock()
	return passage{s, &s.writing}
}

// passage is somebody's way through a section.
type passage struct {
	section *section
	// stage is where he is, nil outside.
	stage *sync.Mutex
}

// written goes on to the second stage: what was written has its place in the order.
func (p *passage) written() {
	p.section.applying.Lock()
	p.section.writing.Unlock()
	p.stage = &p.section.applying
}

// handOver returns the rest of the way, for another goroutine.
func (p *passage) handOver() (rest passage) {
	rest, p.stage = *p, nil
	return rest
}

// leave leaves the section, from either stage, or if the rest of the way was handed over, does nothing.
func (p *passage) leave() {
	if p.stage != nil {
		p.stage.Unlock()
	}
}
