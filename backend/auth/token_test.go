package auth

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"strings"
	"testing"
	"time"

	"telesphore/storage"
)

// issuer is what a server that gives out tokens keeps of them: MACs, and whose they are.
type issuer map[[32]byte]Token

func tokenMAC(token string) [32]byte {
	m := hmac.New(sha256.New, []byte("key of the test issuer"))
	m.Write([]byte(token))
	return [32]byte(m.Sum(nil))
}

func (i issuer) give(token string, t Token) { i[tokenMAC(token)] = t }

// Verify looks the token up by its MAC, so what a comparison takes tells nothing.
func (i issuer) Verify(_ context.Context, token string) (*Token, error) {
	t, ok := i[tokenMAC(token)]
	if !ok {
		return nil, ErrToken
	}
	return &t, nil
}

// unreachable is an issuer that cannot be asked now.
type unreachable struct{}

func (unreachable) Verify(context.Context, string) (*Token, error) {
	return nil, errors.New("no answer")
}

const card = "igc|800000000001"

// newTokenLab has an issuer with tokens of all sorts. The account has a card.
func newTokenLab(t testing.TB) (*lab, issuer) {
	l, i := newLab(t, right), issuer{}
	l.Tokens = []TokenVerifier{issuer{}, i}
	err := l.Store.Update(t.Context(), func(tx *storage.Tx) error {
		return tx.PutCard(l.id, &storage.Card{Identity: card, Linked: time.Now()})
	})
	if err != nil {
		t.Fatal(err)
	}
	past, future := time.Now().Add(-time.Minute), time.Now().Add(time.Hour)
	i.give("by-address", Token{Issuer: "us", Address: user, Level: LevelCode, Expires: future})
	i.give("by-card", Token{Issuer: "provider", Card: card, Level: LevelCard})
	i.give("weak", Token{Issuer: "us", Address: "alias@hopital.test", Level: LevelPassword})
	i.give("no-level", Token{Issuer: "us", Address: user})
	i.give("smtp-only", Token{Issuer: "us", Address: user, Level: LevelCode, Protos: []string{"smtp"}})
	i.give("expired", Token{Issuer: "us", Address: user, Level: LevelCode, Expires: past})
	i.give("stranger", Token{Issuer: "us", Address: "nobody@hopital.test", Level: LevelCode})
	i.give("no-address", Token{Issuer: "us", Address: "", Level: LevelCode})
	i.give("unlinked-card", Token{Issuer: "provider", Card: "igc|800000000002", Address: user, Level: LevelCard})
	return l, i
}

func xoauth2(user, token string) string {
	return "user=" + user + "\x01auth=Bearer " + token + "\x01\x01"
}

func bearer(user, token string) string {
	if user != "" {
		user = "a=" + user
	}
	return "n," + user + ",\x01host=mail.hopital.test\x01port=993\x01auth=Bearer " + token + "\x01\x01"
}

func TestTokenLogsIn(t *testing.T) {
	l, _ := newTokenLab(t)
	for _, c := range []struct {
		mech, response, via string
		level               int
	}{
		{"XOAUTH2", xoauth2(user, "by-address"), "token of us", LevelCode},
		{"XOAUTH2", xoauth2("alias@HOPITAL.test", "by-address"), "token of us", LevelCode},
		{"XOAUTH2", xoauth2(user, "by-card"), "token of provider", LevelCode}, // who holds a token does not hold the card
		{"XOAUTH2", xoauth2(user, "weak"), "token of us", LevelPassword},
		{"XOAUTH2", xoauth2(user, "no-level"), "token of us", LevelPassword},
		{"OAUTHBEARER", bearer(user, "by-address"), "token of us", LevelCode},
		{"OAUTHBEARER", bearer("", "by-address"), "token of us", LevelCode},
		{"OAUTHBEARER", bearer("", "by-card"), "token of provider", LevelCode},
		{"OAUTHBEARER", "y,,\x01auth=bearer  by-address\x01unknown=a=b\tc\x01\x01", "token of us", LevelCode},
	} {
		begin := time.Now()
		_, p, err := talk(t, l, caller(), c.mech, c.response)
		if err != nil || p == nil {
			t.Errorf("%s %q: %v, %v", c.mech, c.response, p, err)
			continue
		}
		if p.Account != l.id || p.Level != c.level || p.Via != c.via || p.Mech != c.mech {
			t.Errorf("%s %q: %+v", c.mech, c.response, p)
		}
		if end := begin.Add(l.TokenSession); p.until.Before(end) || p.until.After(end.Add(time.Minute)) {
			t.Errorf("%s %q: lasts until %v", c.mech, c.response, p.until)
		}
	}
}

func TestTokenIsRefused(t *testing.T) {
	l, _ := newTokenLab(t)
	const ofX, ofBearer = `{"status":"400","schemes":"bearer","scope":"mail"}`, `{"status":"invalid_token","scope":"mail"}`
	for _, c := range []struct{ mech, response, says string }{
		{"XOAUTH2", xoauth2(user, "unheard-of"), ofX},
		{"XOAUTH2", xoauth2("nobody@hopital.test", "by-address"), ofX},
		{"XOAUTH2", xoauth2("medecin", "by-address"), ofX},
		{"XOAUTH2", xoauth2(user, "smtp-only"), ofX},
		{"XOAUTH2", xoauth2(user, "expired"), ofX},
		{"XOAUTH2", xoauth2(user, "stranger"), ofX},
		{"XOAUTH2", xoauth2(user, "no-address"), ofX},
		{"XOAUTH2", xoauth2(user, "unlinked-card"), ofX},
		{"XOAUTH2", xoauth2(user, ""), ofX},
		{"XOAUTH2", xoauth2(user, strings.Repeat("x", maxToken+1)), ofX},
		{"XOAUTH2", "user=" + user + "\x01auth=Basic eDp5\x01\x01", ofX},
		{"OAUTHBEARER", bearer(user, "unheard-of"), ofBearer},
		{"OAUTHBEARER", bearer("nobody@hopital.test", "by-address"), ofBearer},
		{"OAUTHBEARER", bearer("", "unlinked-card"), ofBearer},
		{"OAUTHBEARER", bearer("", "no-address"), ofBearer},
		{"OAUTHBEARER", "n,,\x01\x01", ofBearer}, // asks what would be wanted
		{"OAUTHBEARER", "n,,\x01auth=\x01\x01", ofBearer},
	} {
		for _, dummy := range []string{"", "\x01", "-", "anything"} { // Thunderbird sends nothing
			said, _, err := talk(t, l, caller(), c.mech, c.response, dummy)
			if got := codeOf(t, err); got != BadCredentials || len(said) != 1 || said[0] != c.says {
				t.Errorf("%s %.60q, then %q: %q, %v", c.mech, c.response, dummy, said, got)
			}
		}
	}
	if got := l.try(user, right); got != 0 {
		t.Errorf("a password after all these: %v", got)
	}
	if text := l.log.String(); strings.Contains(text, "unheard-of") || !strings.Contains(text, "account="+user) {
		t.Errorf("the log holds a token, or not the account:\n%s", text)
	}
}

func TestFormOfTokenResponses(t *testing.T) {
	l, _ := newTokenLab(t)
	const ok = "auth=Bearer by-address"
	for _, c := range []struct{ mech, response string }{
		{"XOAUTH2", ""},
		{"XOAUTH2", "\x01"},
		{"XOAUTH2", "\x01\x01"},
		{"XOAUTH2", "user=" + user},
		{"XOAUTH2", "user=" + user + "\x01" + ok},
		{"XOAUTH2", "user=" + user + "\x01" + ok + "\x01"},
		{"XOAUTH2", "user=\x01" + ok + "\x01\x01"},
		{"XOAUTH2", ok + "\x01user=" + user + "\x01\x01"},
		{"XOAUTH2", "user=" + user + "\x01" + ok + "\x01" + ok + "\x01\x01"},
		{"XOAUTH2", bearer(user, "by-address")},
		{"XOAUTH2", xoauth2(user, strings.Repeat("x", maxBearer))},
		{"OAUTHBEARER", ""},
		{"OAUTHBEARER", "\x01"},
		{"OAUTHBEARER", "\x01\x01"},
		{"OAUTHBEARER", xoauth2(user, "by-address")},
		{"OAUTHBEARER", "n,\x01" + ok + "\x01\x01"},
		{"OAUTHBEARER", "n,,," + "\x01" + ok + "\x01\x01"},
		{"OAUTHBEARER", "F,n,,\x01" + ok + "\x01\x01"},
		{"OAUTHBEARER", "p=tls-exporter,,\x01" + ok + "\x01\x01"},
		{"OAUTHBEARER", "n," + user + ",\x01" + ok + "\x01\x01"},
		{"OAUTHBEARER", "n,a=,\x01" + ok + "\x01\x01"},
		{"OAUTHBEARER", "n,a=x=y,\x01" + ok + "\x01\x01"},
		{"OAUTHBEARER", "n,a=x=2c,\x01" + ok + "\x01\x01"},
		{"OAUTHBEARER", "n,a=x\x00,\x01" + ok + "\x01\x01"},
		{"OAUTHBEARER", "n,,\x01" + ok + "\x01"},
		{"OAUTHBEARER", "n,,\x01" + ok + "\x01" + ok + "\x01\x01"},
		{"OAUTHBEARER", "n,,\x01=x\x01" + ok + "\x01\x01"},
		{"OAUTHBEARER", "n,,\x01host\x01" + ok + "\x01\x01"},
		{"OAUTHBEARER", "n,,\x01h1=x\x01" + ok + "\x01\x01"},
		{"OAUTHBEARER", "n,,\x01host=\x7f\x01" + ok + "\x01\x01"},
		{"OAUTHBEARER", "n,,\x01\x01" + ok + "\x01\x01"},
	} {
		if _, p, err := talk(t, l, caller(), c.mech, c.response); codeOf(t, err) != -1 {
			t.Errorf("%s %.60q: %v, %v", c.mech, c.response, p, err)
		}
	}
}

// A card that opens two accounts does not say which one is meant.
func TestTokenOfACardWithTwoAccounts(t *testing.T) {
	l, _ := newTokenLab(t)
	other := storage.Account{Addresses: []string{"secretariat@hopital.test"}}
	if err := l.Store.NewAccount(t.Context(), &other); err != nil {
		t.Fatal(err)
	}
	err := l.Store.Update(t.Context(), func(tx *storage.Tx) error {
		return tx.PutCard(other.ID, &storage.Card{Identity: card, Linked: time.Now()})
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := talk(t, l, caller(), "OAUTHBEARER", bearer("", "by-card"), "\x01"); codeOf(t, err) != BadCredentials {
		t.Errorf("no address: %v", err)
	}
	for address, id := range map[string]storage.AccountID{user: l.id, other.Addresses[0]: other.ID} {
		_, p, err := talk(t, l, caller(), "OAUTHBEARER", bearer(address, "by-card"))
		if err != nil || p == nil || p.Account != id {
			t.Errorf("%s: %+v, %v", address, p, err)
		}
	}
}

func TestIssuerThatDoesNotAnswer(t *testing.T) {
	l, i := newTokenLab(t)
	l.Tokens = []TokenVerifier{i, unreachable{}}
	if _, _, err := talk(t, l, caller(), "XOAUTH2", xoauth2(user, "by-address")); err != nil {
		t.Errorf("a token that the first issuer knows: %v", err)
	}
	if _, _, err := talk(t, l, caller(), "XOAUTH2", xoauth2(user, "unheard-of")); codeOf(t, err) != Unavailable {
		t.Errorf("a token that no issuer could tell of: %v", err)
	}
}

// Wrong tokens are nobody's guesses: no limit is reached, no answer waits.
func TestTokensDoNotCount(t *testing.T) {
	l, _ := newTokenLab(t)
	l.limiter = newLimiter(Throttle{PerMinute: 2, Free: 1})
	for range 20 {
		_, _, err := talk(t, l, caller(), "XOAUTH2", xoauth2(user, "unheard-of"), "")
		if codeOf(t, err) != BadCredentials {
			t.Fatal(err)
		}
	}
	if got := l.try(user, right); got != 0 {
		t.Errorf("a password from there: %v", got)
	}
}

func TestTokenOfADisabledAccount(t *testing.T) {
	l, _ := newTokenLab(t)
	err := l.Store.Update(t.Context(), func(tx *storage.Tx) error { return tx.SetState(l.id, storage.Disabled) })
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := talk(t, l, caller(), "XOAUTH2", xoauth2(user, "by-address")); codeOf(t, err) != Disabled {
		t.Error(err)
	}
}
