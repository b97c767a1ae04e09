package auth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"telesphore/backend"
	"telesphore/storage"
)

// ErrToken reports a token that nobody vouches for, or does no more.
var ErrToken = errors.New("auth: token is not valid")

// What the log says of refusals.
var (
	errNoToken   = errors.New("no token was sent")
	errTokenDoor = errors.New("the token is for other doors")
	errTokenOver = errors.New("the token has expired")
)

// TokenVerifier knows the bearer tokens (RFC 6750) of one issuer. Verify returns
// ErrToken for those it does not vouch for, so that the next verifier is asked;
// any other error means that it could not tell now. It is safe for concurrent
// use, bounds its own time and compares in constant time.
type TokenVerifier interface {
	Verify(ctx context.Context, token string) (*Token, error)
}

// Token is what an issuer says of a bearer token.
type Token struct {
	Issuer  string    // for the audit trail
	Address string    // the account's address that it was issued for, or
	Card    string    // the card identity of the person
	Level   int       // how the person was known to the issuer; a token is worth LevelCode at most, whoever holds it has it
	Protos  []string  // doors that it opens, empty for all
	Expires time.Time // zero for never
}

// maxToken is how many octets a token has at most, and maxBearer the response around it.
const (
	maxToken  = 8 << 10 // in base64 it fits the 12,288 octets of RFC 4954 section 4
	maxBearer = maxToken + 1024
)

// token takes the response of XOAUTH2 or OAUTHBEARER. Nobody guesses a token, so
// the throttle has no part in this.
func (e *Exchange) token(ctx context.Context, response []byte) ([]byte, step, error) {
	if len(response) > maxBearer {
		return nil, nil, ErrSyntax
	}
	parse, failure := parseXOAuth2, `{"status":"400","schemes":"bearer","scope":"mail"}`
	if e.mech == mechBearer {
		parse, failure = parseBearer, `{"status":"invalid_token","scope":"mail"}`
	}
	user, token, ok := parse(response)
	if !ok {
		return nil, nil, ErrSyntax
	}
	t := &Attempt{Mech: e.mech, User: user}
	account, cl, err := e.a.byToken(ctx, e.c, user, token)
	refusal := new(Refusal)
	if !errors.As(err, &refusal) || refusal.Code != BadCredentials {
		return e.finish(e.a.settle(ctx, e.c, t, account, cl, err))
	}
	if d, err := e.a.lookUp(ctx, user, ""); account == nil && err == nil {
		account = d.account // for the log
	}
	// The client gets a description of the error, and answers with a dummy: ^A,
	// or nothing (RFC 7628 section 3.2.3). Only then the exchange fails.
	// It is written down now: not every client comes back.
	_, err = e.a.settle(ctx, e.c, t, account, nil, err)
	return []byte(failure), func(context.Context, []byte) ([]byte, step, error) {
		return nil, nil, err
	}, nil
}

// parseXOAuth2 reads "user=" name ^A "auth=Bearer " token ^A ^A.
func parseXOAuth2(response []byte) (user, token string, ok bool) {
	rest, ended := strings.CutSuffix(string(response), "\x01\x01")
	name, auth, two := strings.Cut(rest, "\x01")
	name, named := strings.CutPrefix(name, "user=")
	auth, bearer := strings.CutPrefix(auth, "auth=")
	if !ended || !two || !named || !bearer || name == "" || strings.ContainsAny(auth, "\x00\x01") {
		return "", "", false
	}
	return name, bearerToken(auth), true
}

// parseBearer reads a GS2 header and pairs of keys and values, each followed by ^A,
// and one more ^A (RFC 7628 section 3.1). Keys that we do not know are passed
// over, as are host and port.
func parseBearer(response []byte) (user, token string, ok bool) {
	rest, ended := strings.CutSuffix(string(response), "\x01\x01")
	header, pairs, some := strings.Cut(rest, "\x01")
	user, ok = gs2Name(header)
	if !ended || !ok {
		return "", "", false
	}
	seen := false
	for pair := range strings.SplitSeq(pairs, "\x01") {
		if !some {
			break
		}
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" || strings.ContainsFunc(key, notLetter) || strings.ContainsFunc(value, notValue) || key == "auth" && seen {
			return "", "", false
		}
		if key == "auth" {
			seen, token = true, bearerToken(value)
		}
	}
	return user, token, true
}

// gs2Name reads whom a GS2 header names, if anybody (RFC 5801 section 4). There is no
// channel binding here to ask for.
func gs2Name(header string) (name string, ok bool) {
	part := strings.Split(header, ",")
	if len(part) != 3 || part[0] != "n" && part[0] != "y" || part[2] != "" {
		return "", false
	}
	if part[1] == "" {
		return "", true
	}
	name, ok = strings.CutPrefix(part[1], "a=")
	if !ok {
		return "", false
	}
	return saslName(name)
}

func notLetter(r rune) bool { return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') }

// notValue reports what a value may not hold (RFC 7628 section 3.1).
func notValue(r rune) bool { return (r < ' ' || r > '~') && !strings.ContainsRune("\t\r\n", r) }

// saslName reads a name in which "," and "=" stand as =2C and =3D (RFC 5801
// section 4).
func saslName(s string) (name string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == 0:
			return "", false
		case s[i] != '=':
			b.WriteByte(s[i])
		case strings.HasPrefix(s[i:], "=2C"):
			b.WriteByte(',')
			i += 2
		case strings.HasPrefix(s[i:], "=3D"):
			b.WriteByte('=')
			i += 2
		default:
			return "", false
		}
	}
	return b.String(), b.Len() > 0
}

// bearerToken takes the token out of the credentials "Bearer" token (RFC 6750
// section 2.1); "" when there is none.
func bearerToken(credentials string) string {
	scheme, token, _ := strings.Cut(credentials, " ")
	token = strings.TrimLeft(token, " ")
	odd := func(r rune) bool {
		return notLetter(r) && (r < '0' || r > '9') && !strings.ContainsRune("-._~+/=", r)
	}
	if !strings.EqualFold(scheme, "Bearer") || len(token) > maxToken || strings.ContainsFunc(token, odd) {
		return ""
	}
	return token
}

// byToken finds the account that a token opens. user is an address of it, or "" when
// the token alone says whose it is.
func (a *Authenticator) byToken(ctx context.Context, c *Caller, user, token string) (*storage.Account, *claim, error) {
	t, err := a.vouched(ctx, token)
	if errors.Is(err, ErrToken) || errors.Is(err, errNoToken) {
		return nil, nil, &Refusal{Code: BadCredentials, Cause: err}
	}
	if err != nil {
		return nil, nil, &Refusal{Code: Unavailable, Cause: err}
	}
	now := time.Now()
	if !t.Expires.IsZero() && !now.Before(t.Expires) {
		return nil, nil, &Refusal{Code: BadCredentials, Cause: errTokenOver}
	}
	if len(t.Protos) > 0 && !slices.Contains(t.Protos, c.Proto) {
		return nil, nil, &Refusal{Code: BadCredentials, Cause: errTokenDoor}
	}
	account, err := a.ofToken(ctx, t, user)
	if err != nil {
		return nil, nil, &Refusal{Code: Unavailable, Cause: err}
	}
	if account == nil {
		return nil, nil, &Refusal{Code: BadCredentials, Cause: errSomeone}
	}
	level := min(max(t.Level, LevelPassword), LevelCode)
	return account, &claim{level: level, token: true, via: "token of " + t.Issuer, until: now.Add(a.TokenSession)}, nil
}

// vouched asks the issuers about a token.
func (a *Authenticator) vouched(ctx context.Context, token string) (*Token, error) {
	if token == "" {
		return nil, errNoToken
	}
	for _, v := range a.Tokens {
		t, err := v.Verify(ctx, token)
		if err == nil {
			return t, nil
		}
		if !errors.Is(err, ErrToken) {
			return nil, fmt.Errorf("verify a token: %w", err)
		}
	}
	return nil, ErrToken
}

// ofToken finds the one account that a token is for and that has the address user, or
// any when user is "". Nil when there is not just one.
func (a *Authenticator) ofToken(ctx context.Context, t *Token, user string) (account *storage.Account, err error) {
	err = a.Store.View(ctx, func(tx *storage.Tx) error {
		account = nil
		theirs, err := accountsOf(tx, t)
		if err != nil {
			return err
		}
		if user != "" {
			theirs = slices.DeleteFunc(theirs, func(x *storage.Account) bool { return !owns(x, user) })
		}
		if len(theirs) == 1 {
			account = theirs[0]
		}
		return nil
	})
	return account, err
}

// accountsOf lists the accounts that a token could be for.
func accountsOf(tx *storage.Tx, t *Token) (theirs []*storage.Account, err error) {
	var ids []storage.AccountID
	if t.Card != "" {
		if ids, err = tx.CardAccounts(t.Card); err != nil {
			return nil, err
		}
	}
	for _, id := range ids {
		x, err := tx.Account(id)
		if err != nil && !errors.Is(err, storage.ErrNoAccount) {
			return nil, err
		}
		if err == nil && len(x.Addresses) > 0 {
			theirs = append(theirs, x)
		}
	}
	address, err := backend.ParseAddress(t.Address)
	if t.Card != "" || err != nil {
		return theirs, nil
	}
	x, err := tx.AccountByAddress(address.Normal())
	if errors.Is(err, storage.ErrNoAccount) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return []*storage.Account{x}, nil
}
