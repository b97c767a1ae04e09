package storage

import (
	"context"
	"errors"
	"fmt"

	"telesphore/storage/body"
)

const (
	compactShare = 30 // a segment is compacted when this percentage of it is dead
	compactStep  = 64 // bodies moved in one change
)

// compact moves the living bodies out of every closed segment of which enough is
// dead, then removes it. A body that a reader has just looked up may move: the
// reader looks again.
func (s *Store) compact(ctx context.Context) error {
	for _, segment := range s.log.Segments() {
		if segment.Active || ctx.Err() != nil {
			continue
		}
		var dead uint64
		err := s.View(ctx, func(t *Tx) (err error) {
			dead, err = getUint64(t, keySegment(segment.Number))
			return err
		})
		if err != nil {
			return err
		}
		if dead == 0 || dead*100 < uint64(segment.Size)*compactShare {
			continue
		}
		if err := s.compactSegment(ctx, segment.Number); err != nil {
			return fmt.Errorf("compact segment %d: %w", segment.Number, err)
		}
	}
	return nil
}

// living is a body of the segment that is being emptied.
type living struct {
	id       body.ID
	from, to body.Ref
}

// compactSegment takes liveness from the index alone. Nothing new is ever
// written to a closed segment, so a body found dead or moved stays so.
func (s *Store) compactSegment(ctx context.Context, number uint32) error {
	var step []living
	flush := func() error {
		if err := s.relocate(ctx, step); err != nil {
			return err
		}
		step = step[:0]
		return ctx.Err()
	}
	err := s.log.Scan(number, func(r *body.Record) error {
		if step = append(step, living{id: r.ID, from: r.Ref}); len(step) < compactStep {
			return nil
		}
		return flush()
	})
	if errors.Is(err, body.ErrDamaged) {
		s.logger.Error("a damaged segment is kept as it is", "segment", number, "cause", err)
		return nil
	}
	if err != nil {
		return err
	}
	if err := flush(); err != nil {
		return err
	}
	err = s.Update(ctx, func(t *Tx) error { return t.delete(keySegment(number)) })
	if err != nil {
		return err
	}
	return s.log.Remove(number)
}

// relocate moves those of a step that live. A copy is on disk before the index
// refers to it: the commit's flush writes what is staged.
func (s *Store) relocate(ctx context.Context, step []living) error {
	var moving []living
	err := s.View(ctx, func(t *Tx) error {
		moving = moving[:0]
		for _, l := range step {
			if now, err := t.bodyRef(l.id); err != nil {
				return err
			} else if now.refs > 0 && now.Ref == l.from {
				moving = append(moving, l)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i := range moving {
		if moving[i].to, err = s.log.Relocate(moving[i].from); err != nil {
			return err
		}
	}
	if len(moving) == 0 {
		return nil
	}
	return s.Update(ctx, func(t *Tx) error {
		for _, l := range moving {
			now, err := t.bodyRef(l.id)
			if err != nil {
				return err
			}
			if now.refs == 0 || now.Ref != l.from {
				continue // expunged meanwhile
			}
			now.Ref = l.to
			if err := t.putBody(l.id, now); err != nil {
				return err
			}
		}
		return nil
	})
}
