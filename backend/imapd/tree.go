package imapd

import (
	"maps"
	"slices"
	"strings"

	"telesphore/storage"
)

// tree is an account's mailboxes with the names above them, and the
// subscribed names, sorted.
type tree struct{ folders []*folder }

// folder is one name.
type folder struct {
	name       string
	mb         *storage.Mailbox // nil when there is no such mailbox
	subscribed bool
	below      struct{ exists, subscribed, special bool } // anywhere below
	names      []string                                   // subscribed names below
}

// exists says whether LIST shows the name: it is a mailbox, or above one.
func (f *folder) exists() bool { return f.mb != nil || f.below.exists }

func (f *folder) use() storage.SpecialUse {
	if f.mb == nil {
		return 0
	}
	return f.mb.Use
}

// hides says whether a subscribed mailbox below f does not match the patterns.
func (f *folder) hides(patterns []string) bool {
	return slices.ContainsFunc(f.names, func(name string) bool { return !matchAny(patterns, name) })
}

// readTree reads the account's names. What it returns is a copy.
func readTree(tx *storage.Tx, account storage.AccountID) (*tree, error) {
	mailboxes, err := tx.Mailboxes(account)
	if err != nil {
		return nil, err
	}
	subscribed, err := tx.Subscriptions(account)
	if err != nil {
		return nil, err
	}
	named := make(map[string]*folder, len(mailboxes))
	for _, mb := range mailboxes {
		f := at(named, mb.Name)
		f.mb = mb
		for above := range superiors(mb.Name) {
			f := at(named, above)
			f.below.exists = true
			f.below.special = f.below.special || mb.Use != 0
		}
	}
	for _, name := range subscribed {
		at(named, name).subscribed = true
		for above := range superiors(name) {
			f := at(named, above)
			f.below.subscribed = true
			f.names = append(f.names, name)
		}
	}
	t := &tree{folders: slices.Collect(maps.Values(named))}
	slices.SortFunc(t.folders, func(a, b *folder) int { return strings.Compare(a.name, b.name) })
	return t, nil
}

func at(named map[string]*folder, name string) *folder {
	f := named[name]
	if f == nil {
		f = &folder{name: name}
		named[name] = f
	}
	return f
}

// superiors yields "a" and "a/b" for "a/b/c".
func superiors(name string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for i := range len(name) {
			if name[i] == delimiter && i > 0 && !yield(name[:i]) {
				return
			}
		}
	}
}
