package admind

import (
	"context"
	"fmt"
	"time"

	"telesphore/backend"
	"telesphore/backend/auth"
	"telesphore/storage"
)

// maxLife bounds what a caller may ask to live so and so long.
const maxLife = 10 * 365 * 24 * time.Hour

// call is a request and who makes it.
type call struct {
	*Request
	actor string // for the audit trail: "uid 0"
}

// operation is how an Op is carried out.
type operation struct {
	run   func(*Server, context.Context, *call) (*Response, error)
	free  bool // it needs no address
	reads bool // it changes nothing, so the log need not tell
}

func operations() map[Op]operation {
	return map[Op]operation{
		AccountAdd:      {run: (*Server).addAccount},
		AccountList:     {run: (*Server).listAccounts, free: true, reads: true},
		AccountShow:     {run: (*Server).showAccount, reads: true},
		AccountPassword: {run: (*Server).setPassword},
		AccountDisable:  {run: (*Server).disable},
		AccountEnable:   {run: (*Server).enable},
		AccountDelete:   {run: (*Server).erase},

		CardList:   {run: (*Server).listCards, free: true, reads: true},
		CardShow:   {run: (*Server).showCertificate, free: true, reads: true},
		CardLists:  {run: (*Server).showLists, free: true, reads: true},
		CardLink:   {run: (*Server).linkCard},
		CardUnlink: {run: (*Server).unlinkCard},
		CardWindow: {run: (*Server).openWindow},
		CardClose:  {run: (*Server).closeWindow},

		CodeOn:      {run: (*Server).proveContact},
		CodeConfirm: {run: (*Server).codesOn},
		CodeOff:     {run: (*Server).codesOff},
		TOTPBegin:   {run: (*Server).beginTOTP},
		TOTPConfirm: {run: (*Server).confirmTOTP},

		AliasAdd:    {run: (*Server).addAlias},
		AliasList:   {run: (*Server).listAliases, free: true, reads: true},
		AliasShow:   {run: (*Server).showAlias, reads: true},
		AliasChange: {run: (*Server).changeAlias},
		AliasDelete: {run: (*Server).deleteAlias},

		MessageTrace: {run: (*Server).traceMessage, reads: true},

		WhiteListShow:    {run: (*Server).showWhiteList, free: true, reads: true},
		WhiteListCheck:   {run: (*Server).checkDomain, free: true, reads: true},
		WhiteListRefresh: {run: (*Server).refreshWhiteList, free: true},

		QueueList:    {run: (*Server).listQueue, free: true, reads: true},
		QueueShow:    {run: (*Server).showQueued, free: true, reads: true},
		QueueRetry:   {run: (*Server).retryQueued, free: true},
		QueueHold:    {run: (*Server).holdQueued, free: true},
		QueueRelease: {run: (*Server).releaseQueued, free: true},
		QueueDrop:    {run: (*Server).dropQueued, free: true},

		GrantList:   {run: (*Server).listGrants, reads: true},
		GrantRevoke: {run: (*Server).revokeGrant},
		SessionList: {run: (*Server).listSessions, reads: true},

		AppPasswordAdd:    {run: (*Server).addAppPassword},
		AppPasswordList:   {run: (*Server).listAppPasswords, reads: true},
		AppPasswordRemove: {run: (*Server).removeAppPassword},
	}
}

// do carries out a request.
func (s *Server) do(ctx context.Context, c *call) (*Response, error) {
	op, ok := operations()[c.Op]
	if !ok {
		return nil, errUnknownOp
	}
	if c.Address == "" && !op.free {
		return nil, errNoAddress
	}
	return op.run(s, ctx, c)
}

// find reads the account that has the address, as people write it.
func find(tx *storage.Tx, text string) (*storage.Account, error) {
	address, err := backend.ParseAddress(text)
	if err != nil {
		return nil, fmt.Errorf("parse the address: %w", err)
	}
	return tx.AccountByAddress(address.Normal())
}

// look reads something of the account that a request is about.
func (s *Server) look(ctx context.Context, c *call, f func(*storage.Tx, *storage.Account) error) error {
	return s.Store.View(ctx, func(tx *storage.Tx) error {
		a, err := find(tx, c.Address)
		if err != nil {
			return err
		}
		return f(tx, a)
	})
}

// account reads the account that a request is about.
func (s *Server) account(ctx context.Context, c *call) (a *storage.Account, err error) {
	err = s.look(ctx, c, func(_ *storage.Tx, found *storage.Account) error {
		a = found
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the account: %w", err)
	}
	return a, nil
}

// act has f do something as the caller on behalf of the account that the request
// is about, and answers with the account as it is then. What f may not do, package
// auth decides: whoever may use the socket acts as somebody with a card would.
func (s *Server) act(ctx context.Context, c *call, f func(*auth.Principal) error) (*Response, error) {
	a, err := s.account(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := f(s.Auth.Acting(a, c.actor)); err != nil {
		return nil, err
	}
	return s.describe(ctx, a.ID)
}

// length is a length of time that a request names in seconds.
func length(seconds int64) (time.Duration, error) {
	if seconds < 0 || seconds > int64(maxLife/time.Second) {
		return 0, errLife
	}
	return time.Duration(seconds) * time.Second, nil
}
