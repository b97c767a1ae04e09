package auth

import (
	"sync"
	"time"
)

// recent is a map that forgets: values past their time, and when it is full the
// ones that were not used lately. It holds two generations of at most size
// entries; when the young one is full it becomes the old one, and the old one is
// gone. What is looked up moves to the young one.
type recent[K comparable, V any] struct {
	mu         sync.Mutex // guards what follows
	size       int
	young, old map[K]entry[V]
}

type entry[V any] struct {
	value V
	until time.Time
}

func newRecent[K comparable, V any](size int) *recent[K, V] {
	return &recent[K, V]{size: size, young: map[K]entry[V]{}, old: map[K]entry[V]{}}
}

// get returns the value of k unless it is past its time at now.
func (r *recent[K, V]) get(k K, now time.Time) (V, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.find(k, now)
}

// put sets the value of k until a time.
func (r *recent[K, V]) put(k K, v V, until time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.set(k, entry[V]{v, until})
}

// edit replaces the value of k (its zero value when there is none) by what f
// makes of it.
func (r *recent[K, V]) edit(k K, now, until time.Time, f func(V) V) {
	r.mu.Lock()
	defer r.mu.Unlock()
	v, _ := r.find(k, now)
	r.set(k, entry[V]{f(v), until})
}

func (r *recent[K, V]) delete(k K) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.young, k)
	delete(r.old, k)
}

func (r *recent[K, V]) find(k K, now time.Time) (v V, ok bool) {
	e, ok := r.young[k]
	if !ok {
		if e, ok = r.old[k]; ok {
			r.set(k, e)
		}
	}
	if !ok || !now.Before(e.until) {
		return v, false
	}
	return e.value, true
}

func (r *recent[K, V]) set(k K, e entry[V]) {
	if _, ok := r.young[k]; !ok && len(r.young) >= r.size {
		r.young, r.old = map[K]entry[V]{}, r.young
	}
	r.young[k] = e
}
