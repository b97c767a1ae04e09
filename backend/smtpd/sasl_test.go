package smtpd

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/xdg-go/scram"

	"telesphore/backend/auth"
	"telesphore/storage"
)

// scram runs an exchange; begin is the command up to the first response, which
// may go with it. It returns the last reply, and whether the server proved itself.
func (c *client) scram(mechanism, secret string, plus, together bool) (reply string, valid bool) {
	c.t.Helper()
	who, err := scram.SHA256.NewClient(alice, secret, "")
	if err != nil {
		c.t.Fatal(err)
	}
	talk := who.NewConversation()
	if plus {
		state := c.Conn.(*tls.Conn).ConnectionState()
		binding, err := state.ExportKeyingMaterial("EXPORTER-Channel-Binding", []byte{}, 32)
		if err != nil {
			c.t.Fatal(err)
		}
		talk = who.NewConversationWithChannelBinding(scram.ChannelBinding{Type: scram.ChannelBindingTLSExporter, Data: binding})
	}
	message, err := talk.Step("")
	if err != nil {
		c.t.Fatal(err)
	}
	if together {
		c.send("AUTH %s %s\r\n", mechanism, b64(message))
	} else {
		c.say("AUTH "+mechanism, "334 ")
		c.send("%s\r\n", b64(message))
	}
	for {
		reply = c.reply()[0]
		challenge, ok := strings.CutPrefix(reply, "334 ")
		if !ok {
			return reply, talk.Valid()
		}
		octets, err := base64.StdEncoding.DecodeString(challenge)
		if err != nil {
			c.t.Fatalf("challenge %q: %v", challenge, err)
		}
		if message, err = talk.Step(string(octets)); err != nil {
			c.t.Fatalf("challenge %q: %v", octets, err)
		}
		c.send("%s\r\n", b64(message)) // empty behind the server's proof
	}
}

func TestSCRAM(t *testing.T) {
	l := newCardLab(t, Limits{})
	var account *storage.Account
	l.update(func(tx *storage.Tx) (err error) {
		account, err = tx.Account(l.alice)
		return err
	})
	if err := l.Auth.SetPassword(t.Context(), l.Auth.Acting(account, "operator"), password); err != nil {
		t.Fatal(err)
	}
	l.both(t, func(t *testing.T, connect func(*tls.Certificate) *client) {
		for _, s := range []struct {
			mechanism, secret string
			plus, together    bool
			want              string
			valid             bool
		}{
			{"SCRAM-SHA-256", password, false, true, "235 2.7.0 ", true},
			{"SCRAM-SHA-256", password, false, false, "235 2.7.0 ", true},
			{"SCRAM-SHA-256-PLUS", password, true, true, "235 2.7.0 ", true},
			{"SCRAM-SHA-256-PLUS", password, true, false, "235 2.7.0 ", true},
			{"SCRAM-SHA-256", "wrong", false, true, "535 5.7.8 ", false},
			{"SCRAM-SHA-256-PLUS", "wrong", true, true, "535 5.7.8 ", false},
			{"SCRAM-SHA-256-PLUS", password, false, true, "535 5.7.8 ", false}, // no binding
		} {
			c := connect(nil)
			if reply, valid := c.scram(s.mechanism, s.secret, s.plus, s.together); !strings.HasPrefix(reply, s.want) || valid != s.valid {
				t.Errorf("%+v: %q, server valid: %v", s, reply, valid)
			}
			if s.valid {
				c.say(mailAlice, "250 ")
				c.say(toPartner, weak)
			}
		}
	})
}

// issuer vouches for one token.
type issuer string

func (i issuer) Verify(_ context.Context, token string) (*auth.Token, error) {
	if token != string(i) {
		return nil, auth.ErrToken
	}
	return &auth.Token{Issuer: "test", Address: alice, Level: auth.LevelCode}, nil
}

func TestTokens(t *testing.T) {
	good := "good" + strings.Repeat("x", 8000)
	l := newCardServer(t, Limits{})
	l.Auth.Tokens = []auth.TokenVerifier{issuer(good)}
	l.serve()
	x := func(user, token string) string {
		return b64("user=" + user + "\x01auth=Bearer " + token + "\x01\x01")
	}
	bearer := func(user, token string) string {
		return b64("n,a=" + user + ",\x01host=mail.hopital.test\x01port=465\x01auth=Bearer " + token + "\x01\x01")
	}
	const failure = "334 eyJzdGF0dXMiOi" // {"status":
	l.both(t, func(t *testing.T, connect func(*tls.Certificate) *client) {
		for _, script := range [][]string{
			{"AUTH XOAUTH2 " + x(alice, good), "235 2.7.0 ", mailAlice, "250 ", toPartner, strong},
			{"AUTH XOAUTH2", "334 ", x(alice, good), "235 2.7.0 "},
			{"AUTH XOAUTH2 " + x(alice, "bad"), failure, "", "535 5.7.8 ", "AUTH XOAUTH2 " + x(alice, good), "235 2.7.0 "},
			{"AUTH XOAUTH2 " + x(alice, "bad"), failure, "*", "501 5.0.0 ", "NOOP", "250 "},
			{"AUTH XOAUTH2 " + x(bob, good), failure, "", "535 5.7.8 "},
			{"AUTH XOAUTH2 =", "501 5.5.2 "},
			{"AUTH XOAUTH2 " + b64("user="+alice), "501 5.5.2 "},
			{"AUTH OAUTHBEARER " + bearer(alice, good), "235 2.7.0 ", mailAlice, "250 ", toPartner, strong},
			{"AUTH OAUTHBEARER", "334 ", bearer(alice, good), "235 2.7.0 "},
			{"AUTH OAUTHBEARER " + bearer(alice, "bad"), failure, "AQ==", "535 5.7.8 ", "NOOP", "250 "},
			{"AUTH OAUTHBEARER " + bearer(alice, "bad"), failure, "", "535 5.7.8 ", "NOOP", "250 "},
			{"AUTH OAUTHBEARER " + bearer(bob, good), failure, "AQ==", "535 5.7.8 "},
			{"AUTH OAUTHBEARER =", "501 5.5.2 "},
			{"AUTH OAUTHBEARER", "334 ", "", "501 5.5.2 ", "NOOP", "250 "},
		} {
			c := connect(nil)
			for i := 0; i < len(script); i += 2 {
				c.say(script[i], script[i+1])
			}
			c.Close()
		}
	})
}
