package imapd

import (
	"iter"
	"slices"
	"sort"

	"telesphore/backend/imapd/wire"
	"telesphore/storage"
)

// viewRange is the messages with indexes from..to-1 of a view.
type viewRange struct{ from, to int }

// resolveOrSaved is resolve, or with saved the messages of "$" that are in the view.
func (s *selection) resolveOrSaved(set wire.Set, saved, uid bool) ([]viewRange, error) {
	if !saved {
		return s.resolve(set, uid)
	}
	var out []viewRange
	for _, uid := range s.Saved {
		i, found := slices.BinarySearch(s.UIDs, uid)
		switch n := len(out); {
		case !found:
		case n > 0 && out[n-1].to == i:
			out[n-1].to++
		default:
			out = append(out, viewRange{i, i + 1})
		}
	}
	return out, nil
}

// resolve finds the messages of set in the view. UIDs that the view does not
// hold are passed over; a sequence number that it does not is an error.
func (s *selection) resolve(set wire.Set, uid bool) ([]viewRange, error) {
	n := len(s.UIDs)
	if !uid {
		ranges := set.Resolve(uint32(n))
		if ranges.Max() > uint32(n) {
			return nil, &wire.SyntaxError{Text: "no message has that number"}
		}
		out := make([]viewRange, len(ranges))
		for i, r := range ranges {
			out[i] = viewRange{int(r.Lo) - 1, int(r.Hi)}
		}
		return out, nil
	}
	last := uint32(0)
	if n > 0 {
		last = s.UIDs[n-1]
	}
	var out []viewRange
	for _, r := range set.Resolve(last) {
		from := sort.Search(n, func(i int) bool { return s.UIDs[i] >= r.Lo })
		to := from + sort.Search(n-from, func(i int) bool { return s.UIDs[from+i] > r.Hi })
		if from < to {
			out = append(out, viewRange{from, to})
		}
	}
	return out, nil
}

// batches cuts ranges into lists that hold at most size messages each.
func batches(ranges []viewRange, size int) iter.Seq[[]viewRange] {
	return func(yield func([]viewRange) bool) {
		var batch []viewRange
		room := size
		for _, v := range ranges {
			for v.from < v.to {
				n := min(room, v.to-v.from)
				batch = append(batch, viewRange{v.from, v.from + n})
				v.from += n
				if room -= n; room > 0 {
					continue
				}
				if !yield(batch) {
					return
				}
				batch, room = batch[:0], size
			}
		}
		if len(batch) > 0 {
			yield(batch)
		}
	}
}

// placements calls f for the messages of ranges that are still there, with
// their indexes in the view, and counts those that are gone. UIDs between them
// that the view does not hold belong to messages that the client knows are gone.
func (s *selection) placements(t *storage.Tx, ranges []viewRange, f func(index int, p *storage.Placement)) (gone int, err error) {
	set := make(storage.UIDSet, len(ranges))
	for i, v := range ranges {
		set[i] = storage.UIDRange{Lo: s.UIDs[v.from], Hi: s.UIDs[v.to-1]}
		gone += v.to - v.from
	}
	k, at := 0, ranges[0].from
	err = t.Placements(s.Account, s.Mailbox, set, func(p *storage.Placement) bool {
		for set[k].Hi < p.UID {
			k++
			at = ranges[k].from
		}
		for s.UIDs[at] < p.UID {
			at++
		}
		if s.UIDs[at] == p.UID {
			f(at, p)
			gone--
		}
		return true
	})
	return gone, err
}

// flushFull sends the replies when enough of them wait.
func (s *selection) flushFull() error {
	if len(s.Out.B) < flushAt {
		return nil
	}
	return s.Flush()
}
