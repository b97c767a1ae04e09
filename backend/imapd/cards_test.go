package imapd

import (
	"context"
	cryptotls "crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"telesphore/backend/auth"
	"telesphore/storage"
	"telesphore/tls"
	"telesphore/tls/tlstest"
)

// What the holders of cards are told.
const (
	expired  = "The card is refused: its certificate has expired"
	revoked  = "The card is refused: its certificate has been revoked"
	foreign  = "The card is refused: it was issued by an authority that is not accepted here"
	usage    = "The card is refused: this certificate is not the one for authentication"
	unlinked = "This card is not linked to an account yet: log in once with the card and your password"
	noWindow = "Your card is not linked to this account and may not be linked now: ask your administrator"
	wrong    = "Authentication failed"
)

// cardLab is a lab that knows the cards of an issuer, and asks for them.
type cardLab struct {
	*lab
	issuer  *tlstest.Issuer
	anchors *tls.Anchors
	cards   *int // made so far
}

func newCardLab(t testing.TB, change func(*Server)) *cardLab {
	t.Helper()
	l := &cardLab{issuer: tlstest.NewIssuer(t, "IGC-SANTE"), cards: new(int)}
	l.anchors = tlstest.Anchors(t, l.issuer)
	trust := tlstest.New(t)
	l.lab = newLab(t, func(s *Server) {
		s.InsecureAuth = false
		s.TLS = trust.Identity(t).Server(l.anchors)
		s.Auth.Anchors = l.anchors
		if change != nil {
			change(s)
		}
	})
	l.trust = trust
	return l
}

// person is somebody who has no card of this issuer yet.
func (l *cardLab) person() tls.Person {
	*l.cards++
	return tls.Person{ID: fmt.Sprintf("81000%07d", *l.cards), Surname: "MEDECIN", GivenName: "UN"}
}

// owner is who may do everything with an account.
func (l *lab) owner(id storage.AccountID) *auth.Principal {
	l.t.Helper()
	var account *storage.Account
	err := l.Store.View(context.Background(), func(tx *storage.Tx) (err error) {
		account, err = tx.Account(id)
		return err
	})
	if err != nil {
		l.t.Fatal(err)
	}
	return l.Auth.Acting(account, "operator")
}

// link makes a card open an account.
func (l *cardLab) link(id storage.AccountID, card tls.Certificate) {
	l.t.Helper()
	read, err := l.Auth.ReadCard(context.Background(), card.Leaf)
	if err != nil {
		l.t.Fatal(err)
	}
	if err := l.Auth.LinkCard(context.Background(), l.owner(id), read, true); err != nil {
		l.t.Fatal(err)
	}
}

// revoke puts a card on the list that the server knows.
func (l *cardLab) revoke(card tls.Certificate) {
	l.t.Helper()
	l.issuer.Revoke(l.t, card)
	tlstest.Refresh(l.t, l.anchors)
}

// way is one way to a connection with TLS.
type way struct {
	starttls bool
	version  uint16
}

func (w way) String() string {
	if w.starttls {
		return "STARTTLS, " + cryptotls.VersionName(w.version)
	}
	return "implicit, " + cryptotls.VersionName(w.version)
}

func ways() []way {
	return []way{
		{false, cryptotls.VersionTLS12}, {false, cryptotls.VersionTLS13},
		{true, cryptotls.VersionTLS12}, {true, cryptotls.VersionTLS13},
	}
}

// connect shakes hands, with a card unless card is nil.
func (l *cardLab) connect(w way, card *tls.Certificate) *client {
	l.t.Helper()
	config := l.trust.Client("")
	if card != nil {
		config = l.trust.ClientWith("", *card)
	}
	config.MinVersion, config.MaxVersion = w.version, w.version
	return l.connectWith(w, config)
}

func (l *cardLab) connectWith(w way, config *cryptotls.Config) *client {
	l.t.Helper()
	address := l.secure
	if w.starttls {
		address = l.clear
	}
	conn, err := net.Dial("tcp", address)
	if err != nil {
		l.t.Fatal(err)
	}
	if w.starttls {
		c := newClient(l.t, conn)
		c.want("* OK [CAPABILITY …STARTTLS…")
		c.ok("STARTTLS")
	}
	t := cryptotls.Client(conn, config)
	if err := t.Handshake(); err != nil {
		l.t.Fatal(err)
	}
	c := newClient(l.t, t)
	if !w.starttls {
		c.want("* OK [CAPABILITY …") // never PREAUTH
	}
	return c
}

// level is how well the one session of an account is known. Those that ended are
// not counted among them any more.
func (l *lab) level(id storage.AccountID) int {
	l.t.Helper()
	open := l.Auth.Sessions(id)
	if len(open) != 1 {
		l.t.Fatalf("open log-ins: %+v", open)
	}
	return open[0].Level
}

// Each state of a card, with EXTERNAL and with the right password beside it.
func TestCardStates(t *testing.T) {
	l := newCardLab(t, nil)
	other := l.addAccount("autre@hopital.test")
	otherIssuer := l.issuer.Foreign(t)
	organisations := tlstest.NewOrganisations(t, "IGC-SANTE")
	states := map[string]struct {
		card   func(l *cardLab, id storage.AccountID) *tls.Certificate
		told   string // what EXTERNAL is refused with, "" when it opens the account
		level  int    // of a log-in with the password, 0 when it is refused
		beside string // what pops up at a log-in with the password
	}{
		"none": {
			card:  func(*cardLab, storage.AccountID) *tls.Certificate { return nil },
			level: auth.LevelPassword,
		},
		"expired": {
			card: func(l *cardLab, _ storage.AccountID) *tls.Certificate {
				p := l.person()
				p.NotAfter = time.Now().Add(-time.Hour)
				return ref(l.issuer.Card(l.t, p))
			},
			told: expired, level: auth.LevelPassword, beside: expired,
		},
		"revoked": {
			card: func(l *cardLab, id storage.AccountID) *tls.Certificate {
				card := l.issuer.Card(l.t, l.person())
				l.link(id, card)
				l.revoke(card)
				return &card
			},
			told: revoked, level: auth.LevelPassword, beside: revoked,
		},
		"of another authority, with the id of a linked card": {
			card: func(l *cardLab, id storage.AccountID) *tls.Certificate {
				p := l.person()
				l.link(id, l.issuer.Card(l.t, p))
				return ref(otherIssuer.Card(l.t, p))
			},
			told: foreign, level: auth.LevelPassword, beside: foreign,
		},
		"of an authority for organisations that is not known": {
			card: func(l *cardLab, _ storage.AccountID) *tls.Certificate {
				return ref(organisations.Organisation(l.t, tls.Organisation{Unit: "1750712184", Name: "LABO", Org: "HOPITAL"}))
			},
			told: foreign, level: auth.LevelPassword, beside: foreign,
		},
		"for signatures only": {
			card: func(l *cardLab, _ storage.AccountID) *tls.Certificate {
				p := l.person()
				p.Edit = func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageContentCommitment }
				return ref(l.issuer.Card(l.t, p))
			},
			told: usage, level: auth.LevelPassword, beside: usage,
		},
		"not linked": {
			card: func(l *cardLab, _ storage.AccountID) *tls.Certificate { return ref(l.issuer.Card(l.t, l.person())) },
			told: unlinked, level: auth.LevelPassword, beside: noWindow,
		},
		"not linked, with the account's address for a name": {
			card: func(l *cardLab, _ storage.AccountID) *tls.Certificate {
				p := l.person()
				p.Surname = user
				return ref(l.issuer.Card(l.t, p))
			},
			told: unlinked, level: auth.LevelPassword, beside: noWindow,
		},
		"first use": {
			card: func(l *cardLab, id storage.AccountID) *tls.Certificate {
				l.window(id, "")
				return ref(l.issuer.Card(l.t, l.person()))
			},
			told: unlinked, level: auth.LevelCard,
		},
		"first use of the expected card": {
			card: func(l *cardLab, id storage.AccountID) *tls.Certificate {
				p := l.person()
				l.window(id, "IGC-SANTE|"+p.ID)
				return ref(l.issuer.Card(l.t, p))
			},
			told: unlinked, level: auth.LevelCard,
		},
		"first use of another card than the expected one": {
			card: func(l *cardLab, id storage.AccountID) *tls.Certificate {
				l.window(id, "IGC-SANTE|"+l.person().ID)
				return ref(l.issuer.Card(l.t, l.person()))
			},
			told: unlinked, level: auth.LevelPassword, beside: noWindow,
		},
		"linked": {
			card: func(l *cardLab, id storage.AccountID) *tls.Certificate {
				card := l.issuer.Card(l.t, l.person())
				l.link(id, card)
				return &card
			},
			level: auth.LevelCard,
		},
		"renewed": {
			card: func(l *cardLab, id storage.AccountID) *tls.Certificate {
				p := l.person()
				l.link(id, l.issuer.Card(l.t, p))
				return ref(l.issuer.Card(l.t, p))
			},
			level: auth.LevelCard,
		},
		"somebody else's": {
			card: func(l *cardLab, _ storage.AccountID) *tls.Certificate {
				card := l.issuer.Card(l.t, l.person())
				l.link(other, card)
				return &card
			},
			told: wrong,
		},
	}
	number := 0
	for name, state := range states {
		for _, w := range ways() {
			t.Run(name+", "+w.String(), func(t *testing.T) {
				l := l.in(t)
				number++
				address := fmt.Sprintf("medecin%d@hopital.test", number)
				id := l.addAccount(address)
				card := state.card(l, id)

				c := l.connect(w, card)
				l.external(c, card != nil, address, state.told, id)
				c.exchange("LOGOUT", "OK …", "* BYE …")
				c.closed()

				c = l.connect(w, card)
				replies, answer := c.run("AUTHENTICATE PLAIN " + b64("\x00"+address+"\x00"+password))
				alert := ""
				if len(replies) > 0 {
					alert = replies[0]
				}
				switch {
				case state.level == 0:
					check(t, answer, "NO [AUTHENTICATIONFAILED] "+wrong)
					check(t, alert, "")
				case state.beside != "":
					check(t, alert, "* OK [ALERT] "+state.beside)
					fallthrough
				default:
					check(t, answer, "OK [CAPABILITY … Logged in")
					if got := l.level(id); got != state.level {
						t.Errorf("level %d, want %d", got, state.level)
					}
				}
			})
		}
	}
}

// external logs in with a card alone, as told says.
func (l *cardLab) external(c *client, haveCard bool, address, told string, id storage.AccountID) {
	l.t.Helper()
	list := c.ok("CAPABILITY")[0]
	if announced := strings.Contains(list, " AUTH=EXTERNAL "); announced != haveCard {
		l.t.Errorf("card %v: %s", haveCard, list)
	}
	command := "authenticate EXTERNAL " + b64(address) // as Thunderbird sends it
	switch {
	case !haveCard:
		c.exchange(command, "NO [CANNOT] …")
	case told == wrong:
		c.exchange(command, "NO [AUTHENTICATIONFAILED] "+wrong)
	case told != "":
		c.exchange(command, "NO [AUTHENTICATIONFAILED] "+told, "* NO [ALERT] "+told)
		c.exchange(command, "NO [AUTHENTICATIONFAILED] "+told) // it does not pop up twice
		c.exchange("SELECT INBOX", "BAD Log in first")
	default:
		c.exchange(command, "OK [CAPABILITY … Logged in")
		if got := l.level(id); got != auth.LevelCard {
			l.t.Errorf("level %d with a card", got)
		}
		c.exchange("SELECT INBOX", "OK …", "…", "…", "…", "…", "…", "…", "…", "…")
	}
}

// in is the lab for a subtest.
func (l *cardLab) in(t testing.TB) *cardLab {
	inner, outer := *l.lab, *l
	inner.t, outer.lab = t, &inner
	return &outer
}

func (l *cardLab) window(id storage.AccountID, expected string) {
	l.t.Helper()
	if err := l.Auth.OpenWindow(context.Background(), l.owner(id), expected, 0); err != nil {
		l.t.Fatal(err)
	}
}

func ref(c tls.Certificate) *tls.Certificate { return &c }

func check(t testing.TB, got, want string) {
	t.Helper()
	if !like(want, got) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
