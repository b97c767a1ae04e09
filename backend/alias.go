package backend

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"telesphore/storage"
)

// Errors of aliases, to be tested with errors.Is.
var (
	ErrNotMember  = errors.New("only the members of this list may write to it")
	ErrNotOurs    = errors.New("only accounts of this server may write to this list")
	ErrAliasOff   = errors.New("the list takes no mail at the moment")
	ErrAliasEmpty = errors.New("no member of the list can be reached")
	ErrAliasLoop  = errors.New("the list leads back to itself")
	ErrAliasDepth = errors.New("too many lists inside each other")
	ErrRecipients = errors.New("too many recipients behind the lists of a message")
	ErrMembers    = errors.New("too many members of one list")
	ErrMailLoop   = errors.New("the message has been here before")
)

// AliasLimits bound what aliases can lead to. A zero field means the default it names.
type AliasLimits struct {
	Members    int // of one alias, its own; default 1,000
	Depth      int // aliases inside each other, the outermost counted; default 5
	Recipients int // of one message, behind all aliases; default 2,000
}

// DefaultAliasLimits are the limits that zero means.
func DefaultAliasLimits() AliasLimits { return AliasLimits{}.withDefaults() }

func (l AliasLimits) withDefaults() AliasLimits {
	return AliasLimits{
		Members: cmp.Or(l.Members, 1000), Depth: cmp.Or(l.Depth, 5), Recipients: cmp.Or(l.Recipients, 2000),
	}
}

// Place is what has an address: one of both is nil.
type Place struct {
	Account *storage.Account
	Alias   *storage.Alias
}

// Place finds what has an address of ours. When nothing has the address itself it
// is what has the address without its detail (RFC 5233 section 1): the detail is
// for people and their filters to read. ErrNoSuchUser, ErrRemote.
func (r *Router) Place(tx *storage.Tx, a Address) (Place, error) {
	if !r.Local(a) {
		return Place{}, ErrRemote
	}
	p, err := place(tx, a.Normal())
	if base, ok := r.base(a); ok && errors.Is(err, ErrNoSuchUser) {
		return place(tx, base.Normal())
	}
	return p, err
}

// place finds what has an address in its comparison form.
func place(tx *storage.Tx, address string) (p Place, err error) {
	p.Account, err = tx.AccountByAddress(address)
	if err == nil && p.Account.State == storage.Erasing {
		return Place{}, ErrNoSuchUser
	}
	if errors.Is(err, storage.ErrNoAccount) {
		p.Account = nil
		p.Alias, err = tx.Alias(address)
	}
	if errors.Is(err, storage.ErrNoAlias) {
		return Place{}, ErrNoSuchUser
	}
	return p, err
}

// base is the address without its detail, if it may have one.
func (r *Router) base(a Address) (Address, bool) {
	user, _, ok := a.Detail(r.SubAddress)
	return Address{Local: user, Domain: a.Domain}, ok
}

// reached is an account on the way from an address, with the aliases between.
type reached struct {
	account *storage.Account
	path    []string // the account's address among the members, then the aliases', the nearest first
}

// expansion walks from addresses to the accounts behind them.
type expansion struct {
	r      *Router
	tx     *storage.Tx
	limits AliasLimits
	off    bool            // walk aliases that are switched off too
	seen   map[string]bool // aliases that were walked
	known  map[storage.AccountID]bool
	found  []reached // each account once
}

func (r *Router) expansion(tx *storage.Tx) *expansion {
	return &expansion{r: r, tx: tx, limits: r.Aliases.withDefaults(), seen: map[string]bool{}, known: map[storage.AccountID]bool{}}
}

// alias adds the accounts behind an alias. inside are the aliases that led to it,
// the nearest first. Members that have gone, and aliases among the members that
// are switched off, are passed over.
func (x *expansion) alias(a *storage.Alias, inside []string) error {
	if slices.Contains(inside, a.Address) {
		return ErrAliasLoop
	}
	if len(inside) >= x.limits.Depth {
		return ErrAliasDepth
	}
	if x.seen[a.Address] {
		return nil
	}
	x.seen[a.Address] = true
	inside = append([]string{a.Address}, inside...)
	for _, m := range a.Members {
		address, err := ParseAddress(m)
		if err != nil {
			return fmt.Errorf("member of an alias: %w", err)
		}
		p, err := x.r.Place(x.tx, address)
		switch {
		case errors.Is(err, ErrNoSuchUser), errors.Is(err, ErrRemote):
			continue
		case err != nil:
			return err
		case p.Account != nil:
			err = x.account(p.Account, append([]string{m}, inside...))
		case x.off || p.Alias.State == storage.Active:
			err = x.alias(p.Alias, inside)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// account adds one account, unless it was reached before.
func (x *expansion) account(a *storage.Account, path []string) error {
	if x.known[a.ID] {
		return nil
	}
	if len(x.found) >= x.limits.Recipients {
		return ErrRecipients
	}
	x.known[a.ID] = true
	x.found = append(x.found, reached{a, path})
	return nil
}

// mayWrite says whether somebody may write to an alias. Only the alias that was
// written to is asked: whoever puts a list inside another opens it to those who
// may write to that one.
func (r *Router) mayWrite(tx *storage.Tx, sender string, a *storage.Alias) error {
	if a.Writers == storage.Everyone {
		return nil
	}
	refusal := ErrNotOurs
	if a.Writers == storage.Members {
		refusal = ErrNotMember
	}
	from, err := ParseAddress(sender)
	if err != nil {
		return refusal // nobody's: the null reverse-path
	}
	account, err := tx.AccountByAddress(from.Normal())
	if errors.Is(err, storage.ErrNoAccount) || err == nil && !r.Local(from) {
		return refusal
	}
	if err != nil || a.Writers == storage.OurDomain {
		return err
	}
	x := r.expansion(tx)
	if err := x.alias(a, nil); err != nil {
		return err
	}
	if !x.known[account.ID] {
		return refusal
	}
	return nil
}

// CheckAlias says whether an alias may stay as the transaction has it, and the
// aliases that it is in. Errors: ErrMembers, ErrRecipients, ErrAliasLoop,
// ErrAliasDepth.
func (r *Router) CheckAlias(tx *storage.Tx, a *storage.Alias) error {
	if len(a.Members) > r.Aliases.withDefaults().Members {
		return ErrMembers
	}
	all, err := tx.Aliases("", 0)
	if err != nil {
		return err
	}
	// A loop through a, or one level too many, shows from each alias that leads to a.
	check, known := []*storage.Alias{a}, map[string]bool{a.Address: true}
	for i := 0; i < len(check); i++ {
		x := r.expansion(tx)
		x.off = true // to switch one on later must change nothing
		if err := x.alias(check[i], nil); err != nil {
			return err
		}
		for n := range all {
			if outer := &all[n]; !known[outer.Address] && r.names(outer, check[i].Address) {
				check, known[outer.Address] = append(check, outer), true
			}
		}
	}
	return nil
}

// names reports whether address, or one with a detail behind it, is a member.
func (r *Router) names(a *storage.Alias, address string) bool {
	return slices.ContainsFunc(a.Members, func(m string) bool {
		member, err := ParseAddress(m)
		return err == nil && slices.Contains(r.forms(member), address)
	})
}
