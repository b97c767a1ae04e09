package admind

import (
	"time"

	"telesphore/backend/auth"
	"telesphore/storage"
	"telesphore/tls"
)

// Op names an operation.
type Op string

// The operations, with the members of [Request] that they need; those in
// brackets may be left out. An operation that changes something answers with the
// account as it is afterwards, unless something else is said.
const (
	AccountAdd      Op = "account.add"      // address [aliases name quota password card.expect]
	AccountList     Op = "account.list"     // [after]; answers accounts, without their cards and codes
	AccountShow     Op = "account.show"     // address; answers account
	AccountPassword Op = "account.password" // address [password]
	AccountDisable  Op = "account.disable"  // address
	AccountEnable   Op = "account.enable"   // address
	AccountDelete   Op = "account.delete"   // address; its keys are gone when the answer comes, which is empty

	AliasAdd    Op = "alias.add"    // address alias.add [name alias.from]; answers alias, like the next three
	AliasShow   Op = "alias.show"   // address
	AliasChange Op = "alias.change" // address, and what is to be another: name alias.add alias.remove alias.from alias.state
	AliasList   Op = "alias.list"   // [address: the one behind which the list goes on]; answers aliases, without their members
	AliasDelete Op = "alias.delete" // address; the answer is empty

	CardList   Op = "card.list"   // [address after]; answers cards, of all accounts without address
	CardShow   Op = "card.show"   // card.certificate; answers certificate
	CardLists  Op = "card.lists"  // answers lists: the revocation lists
	CardLink   Op = "card.link"   // address card.certificate [card.also]
	CardUnlink Op = "card.unlink" // address [card.identity]: which one when there are several
	CardWindow Op = "card.window" // address [card.expect card.life]: opens it
	CardClose  Op = "card.close"  // address: closes the window

	CodeOn      Op = "code.on"      // address code.contact: a code is sent there, nothing changes yet
	CodeConfirm Op = "code.confirm" // address code.code: the one that was sent
	CodeOff     Op = "code.off"     // address
	TOTPBegin   Op = "totp.begin"   // address; answers totp.secret and totp.uri, nothing changes yet
	TOTPConfirm Op = "totp.confirm" // address code.secret code.code; answers totp.recovery too

	GrantList   Op = "grant.list"   // address; answers grants
	GrantRevoke Op = "grant.revoke" // address, and grant.id or grant.all
	SessionList Op = "session.list" // address; answers sessions

	AppPasswordAdd    Op = "app_password.add"    // address app_password.name [.doors .network .life]; answers app_passwords with the new one, and password
	AppPasswordList   Op = "app_password.list"   // address; answers app_passwords
	AppPasswordRemove Op = "app_password.remove" // address app_password.id
)

// MessageTrace tells what became of mail that the account has sent: address
// [message.name]; answers trace. Without message.name it is the last ones, without
// their recipients: address [message.last]; answers traces.
const MessageTrace Op = "message.trace"

// The operations on the white list of the trust space.
const (
	WhiteListShow    Op = "whitelist.show"    // answers white_list
	WhiteListCheck   Op = "whitelist.check"   // white_list.domain; answers peer
	WhiteListRefresh Op = "whitelist.refresh" // [white_list.accept]: looks at it now; answers white_list
)

// Request is one line of a caller.
type Request struct {
	Op       Op       `json:"op"`
	Address  string   `json:"address,omitempty"`
	Aliases  []string `json:"aliases,omitempty"` // further addresses
	Name     string   `json:"name,omitempty"`
	Quota    int64    `json:"quota,omitempty"`    // octets; 0 for the server's default
	Password string   `json:"password,omitempty"` // made by the server when empty
	After    uint32   `json:"after,omitempty"`    // the ID behind which a list goes on

	Alias       AliasRequest       `json:"alias,omitzero"`
	Card        CardRequest        `json:"card,omitzero"`
	Code        CodeRequest        `json:"code,omitzero"`
	Grant       GrantRequest       `json:"grant,omitzero"`
	AppPassword AppPasswordRequest `json:"app_password,omitzero"`
	WhiteList   WhiteListRequest   `json:"white_list,omitzero"`
	Queue       QueueRequest       `json:"queue,omitzero"`
	Message     MessageRequest     `json:"message,omitzero"`
}

// AliasRequest is what an operation on aliases needs.
type AliasRequest struct {
	Add    []string `json:"add,omitempty"`    // members: addresses of accounts or of other aliases
	Remove []string `json:"remove,omitempty"` // members
	From   string   `json:"from,omitempty"`   // who may write to it: "everyone" (of a new one), "domain" or "members"
	State  string   `json:"state,omitempty"`  // "active" or "disabled"
}

// CardRequest is what an operation on cards needs.
type CardRequest struct {
	Certificate []byte `json:"certificate,omitempty"` // DER, in base64
	Also        bool   `json:"also,omitempty"`        // link it although it opens another account
	Identity    string `json:"identity,omitempty"`
	Expect      string `json:"expect,omitempty"` // identity of the only card that the window is for
	Life        int64  `json:"life,omitempty"`   // seconds that the window is open; 0 for the server's default
}

// CodeRequest is what an operation on codes needs.
type CodeRequest struct {
	Contact string `json:"contact,omitempty"` // outside address
	Code    string `json:"code,omitempty"`
	Secret  string `json:"secret,omitempty"` // of totp.begin
}

// GrantRequest says which grants.
type GrantRequest struct {
	ID  uint32 `json:"id,omitempty"`
	All bool   `json:"all,omitempty"`
}

// AppPasswordRequest is what an operation on application passwords needs.
type AppPasswordRequest struct {
	ID      uint32   `json:"id,omitempty"`
	Name    string   `json:"name,omitempty"`
	Doors   []string `json:"doors,omitempty"`   // "imap", "smtp", ...; empty for all
	Network string   `json:"network,omitempty"` // address or prefix; "" for everywhere
	Life    int64    `json:"life,omitempty"`    // seconds; 0 for the longest
}

// Response is one line of the server.
type Response struct {
	Account      *Account      `json:"account,omitempty"`
	Accounts     []Account     `json:"accounts,omitempty"`
	Alias        *Alias        `json:"alias,omitempty"`
	Aliases      []Alias       `json:"aliases,omitempty"`
	More         bool          `json:"more,omitempty"` // ask again with the last alias's address, or message's ID: the list goes on
	Cards        []Card        `json:"cards,omitempty"`
	Certificate  *Certificate  `json:"certificate,omitempty"`
	Lists        []List        `json:"lists,omitempty"`
	TOTP         *TOTP         `json:"totp,omitempty"`
	Grants       []Grant       `json:"grants,omitempty"`
	Sessions     []Session     `json:"sessions,omitempty"`
	AppPasswords []AppPassword `json:"app_passwords,omitempty"`
	WhiteList    *WhiteList    `json:"white_list,omitempty"`
	Peer         *Peer         `json:"peer,omitempty"`
	Queue        []Queued      `json:"queue,omitempty"`
	Count        int           `json:"count,omitempty"` // of deliveries that an operation on the queue changed
	Trace        *Trace        `json:"trace,omitempty"`
	Traces       []Trace       `json:"traces,omitempty"`
	Next         uint32        `json:"next,omitempty"`     // ask again with after = next: the list goes on
	Password     string        `json:"password,omitempty"` // what the server made, told this once
	Error        *Error        `json:"error,omitempty"`
}

// Account is what an operator may know of an account.
type Account struct {
	ID        uint32    `json:"id"`
	Address   string    `json:"address"`
	Aliases   []string  `json:"aliases,omitempty"`
	Name      string    `json:"name,omitempty"`
	State     string    `json:"state"` // active, disabled or erasing
	Created   time.Time `json:"created"`
	LastLogin time.Time `json:"last_login,omitzero"` // absent before the first one
	Quota     int64     `json:"quota,omitempty"`     // octets; absent for the server's default
	Octets    int64     `json:"octets"`              // of all messages
	Messages  int64     `json:"messages"`
	Mailboxes int64     `json:"mailboxes"`

	Cards  []Card  `json:"cards,omitempty"`
	Window *Window `json:"window,omitempty"` // absent while it is closed
	Codes  *Codes  `json:"codes,omitempty"`
}

// Alias is an address that stands for others.
type Alias struct {
	Address string    `json:"address"`
	Name    string    `json:"name,omitempty"`
	State   string    `json:"state"` // active, or disabled: it takes no mail
	From    string    `json:"from"`  // who may write to it: everyone, domain (whoever has an account here) or members
	Count   int       `json:"count"` // of members
	Members []Member  `json:"members,omitempty"`
	Created time.Time `json:"created"`
	Changed time.Time `json:"changed"`
}

// Member is one address that an alias stands for.
type Member struct {
	Address string `json:"address"`
	Is      string `json:"is"` // account, alias or missing: nothing has the address any more
}

// Card is a card, or an organisation's certificate, that opens an account.
type Card struct {
	Address      string    `json:"address"` // of the account
	Identity     string    `json:"identity"`
	Organisation bool      `json:"organisation,omitempty"`
	Holder       string    `json:"holder,omitempty"` // the name on it
	Linked       time.Time `json:"linked"`
	By           string    `json:"by"` // how it was linked
	Serial       string    `json:"serial"`
	Issuer       string    `json:"issuer"`
	NotAfter     time.Time `json:"not_after"`          // of the certificate last seen
	LastUsed     time.Time `json:"last_used,omitzero"` // absent before the first use
}

// Window allows a card to be linked by its first use with the right password.
type Window struct {
	Expect string    `json:"expect,omitempty"` // the only identity it is for; absent for any
	Until  time.Time `json:"until,omitzero"`   // absent: until that card is linked
	By     string    `json:"by,omitempty"`
}

// Codes is an account's second factor.
type Codes struct {
	On       bool      `json:"on"`                // logging in takes a code, or a card
	Contact  string    `json:"contact,omitempty"` // where codes are sent
	Since    time.Time `json:"since,omitzero"`
	By       string    `json:"by,omitempty"`
	TOTP     bool      `json:"totp,omitempty"`     // codes come from an authenticator program
	Recovery int       `json:"recovery,omitempty"` // recovery codes that are left
	Wrong    int       `json:"wrong,omitempty"`    // wrong codes today
	Proving  string    `json:"proving,omitempty"`  // contact address that a first code is on its way to
}

// Certificate is what the server thinks of a certificate.
type Certificate struct {
	Verdict      string    `json:"verdict"` // "good", or the code of the error that its owner's log-in meets
	Reason       string    `json:"reason,omitempty"`
	Identity     string    `json:"identity,omitempty"` // this and the next two only when it is good
	Organisation bool      `json:"organisation,omitempty"`
	Holder       string    `json:"holder,omitempty"`
	Subject      string    `json:"subject"`
	Issuer       string    `json:"issuer"`
	Serial       string    `json:"serial"`
	NotBefore    time.Time `json:"not_before"`
	NotAfter     time.Time `json:"not_after"`
	Accounts     []string  `json:"accounts,omitempty"` // that it opens
}

// List is a revocation list.
type List struct {
	Group      string    `json:"group"`   // of the issuer
	Issuer     string    `json:"issuer"`  // file of its certificate
	Source     string    `json:"source"`  // file or URL
	Current    bool      `json:"current"` // counts at this moment
	Entries    int       `json:"entries"`
	ThisUpdate time.Time `json:"this_update,omitzero"` // absent when no list was read yet
	NextUpdate time.Time `json:"next_update,omitzero"`
	Problem    string    `json:"problem,omitempty"` // what the last look found wrong
}

// TOTP is what a person's authenticator program needs, and what stands in for it.
type TOTP struct {
	Secret   string   `json:"secret,omitempty"`
	URI      string   `json:"uri,omitempty"`
	Recovery []string `json:"recovery,omitempty"` // codes, each good once, told this once
}

// Grant is the right to use a password with a code behind it again, for some time.
type Grant struct {
	ID       uint32    `json:"id"`
	Network  string    `json:"network"`
	Door     string    `json:"door"` // of the log-in that earned it
	Mech     string    `json:"mech"`
	Factor   string    `json:"factor"` // code, totp or recovery
	Created  time.Time `json:"created"`
	LastUsed time.Time `json:"last_used,omitzero"`
	Until    time.Time `json:"until"` // at most
	Over     bool      `json:"over,omitempty"`
}

// Session is an open log-in.
type Session struct {
	Door   string    `json:"door"`
	Mech   string    `json:"mech"`
	Level  int       `json:"level"`
	Via    string    `json:"via,omitempty"` // "grant 3", "application password 7"
	Remote string    `json:"remote"`
	Since  time.Time `json:"since"`
}

// AppPassword is an application password, without its secret.
type AppPassword struct {
	ID       uint32    `json:"id"`
	Name     string    `json:"name"`
	Doors    []string  `json:"doors,omitempty"`   // absent for all
	Network  string    `json:"network,omitempty"` // absent for everywhere
	Level    int       `json:"level"`
	Created  time.Time `json:"created"`
	By       string    `json:"by,omitempty"`
	Expires  time.Time `json:"expires,omitzero"`
	LastUsed time.Time `json:"last_used,omitzero"`
	LastFrom string    `json:"last_from,omitempty"`
}

// utc is for the protocol: every date in one zone, and none stays none.
func utc(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC()
}

func publicAccount(a *storage.Account) *Account {
	p := &Account{
		ID: uint32(a.ID), Name: a.Name, Created: utc(a.Created), LastLogin: utc(a.LastLogin), Quota: a.MaxBytes,
		Octets: a.Usage.Bytes, Messages: a.Usage.Messages, Mailboxes: a.Usage.Mailboxes,
	}
	if len(a.Addresses) > 0 {
		p.Address, p.Aliases = a.Addresses[0], a.Addresses[1:]
	}
	switch a.State {
	case storage.Active:
		p.State = "active"
	case storage.Disabled:
		p.State = "disabled"
	default:
		p.State = "erasing"
	}
	return p
}

func publicCard(address string, c *storage.Card) Card {
	return Card{
		Address: address, Identity: c.Identity, Organisation: c.Organisation, Holder: c.Holder,
		Linked: utc(c.Linked), By: c.By, Serial: c.Serial, Issuer: c.Issuer,
		NotAfter: utc(c.NotAfter), LastUsed: utc(c.LastUsed),
	}
}

func publicList(l *tls.ListStatus) List {
	p := List{
		Group: l.Group, Issuer: l.Issuer, Source: l.Source, Current: l.Current, Entries: l.Entries,
		ThisUpdate: utc(l.ThisUpdate), NextUpdate: utc(l.NextUpdate),
	}
	if l.Err != nil {
		p.Problem = l.Err.Error()
	}
	return p
}

func publicSession(s *auth.Session) Session {
	return Session{Door: s.Proto, Mech: s.Mech, Level: s.Level, Via: s.Via, Remote: s.Remote, Since: utc(s.Since)}
}

func publicAppPassword(p *storage.AppPassword) AppPassword {
	q := AppPassword{
		ID: p.ID, Name: p.Name, Doors: p.Protos, Level: p.Level, Created: utc(p.Created), By: p.By,
		Expires: utc(p.Expires), LastUsed: utc(p.LastUsed),
	}
	if p.Net.IsValid() {
		q.Network = p.Net.String()
	}
	if p.LastFrom.IsValid() {
		q.LastFrom = p.LastFrom.String()
	}
	return q
}
