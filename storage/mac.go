package storage

// MAC is an authenticator that only this server can compute, with the key of
// what belongs to no account. The label "card" is taken by the index.
func (s *Store) MAC(label string, data []byte) [16]byte {
	return s.keys.Log().MAC(label, data)
}
