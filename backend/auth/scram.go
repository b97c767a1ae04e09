package auth

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/xdg-go/scram"

	"telesphore/storage"
)

// SCRAMOptions say who may use SCRAM. A zero field means the default it names.
type SCRAMOptions struct {
	Off              bool // the mechanisms are not offered
	AppPasswordsOnly bool // accounts' own passwords get no verifier
	Iterations       int  // of PBKDF2; default 10,000, at least 4,096 (RFC 7677 section 4)
}

func (o SCRAMOptions) withDefaults() SCRAMOptions {
	o.Iterations = max(cmp.Or(o.Iterations, 10_000), 4096)
	return o
}

// scramLabel is of the MACs that are salts.
const scramLabel = "scram salt"

// makeVerifier computes what is stored of a new password for SCRAM-SHA-256 (RFC 5802
// section 3). The salt is the account's: it needs no room, and all secrets of the
// account can be tried in one exchange. It takes milliseconds, so it is done before
// the change that stores it.
func (a *Authenticator) makeVerifier(ctx context.Context, id storage.AccountID, password string) (*storage.Verifier, error) {
	prepared, err := prepare(password)
	if err != nil {
		return nil, err
	}
	var salt [16]byte
	err = a.Store.View(ctx, func(tx *storage.Tx) (err error) {
		salt, err = tx.MAC(id, scramLabel, nil)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("make a salt: %w", err)
	}
	v, err := deriveVerifier(prepared, salt[:], a.SCRAM.Iterations)
	return &v, err
}

// ownVerifier is the verifier of an account's own password, nil when it gets none.
func (a *Authenticator) ownVerifier(ctx context.Context, id storage.AccountID, password string) (*storage.Verifier, error) {
	if a.SCRAM.Off || a.SCRAM.AppPasswordsOnly {
		return nil, nil
	}
	return a.makeVerifier(ctx, id, password)
}

// renewOwn makes the verifier of an account's own password, which has just been right,
// when there is none or SCRAM.Iterations was changed. Failing to is no reason to
// refuse anybody.
func (a *Authenticator) renewOwn(ctx context.Context, account *storage.Account, password string) {
	if a.SCRAM.Off || a.SCRAM.AppPasswordsOnly {
		return
	}
	var v *storage.Verifier
	err := a.Store.View(ctx, func(tx *storage.Tx) (err error) {
		v, err = tx.PasswordVerifier(account.ID)
		return err
	})
	if err == nil && v != nil && v.Iterations == uint32(a.SCRAM.Iterations) {
		return
	}
	if err == nil {
		v, err = a.ownVerifier(ctx, account.ID, password)
	}
	if err == nil {
		err = a.Store.Update(ctx, func(tx *storage.Tx) error {
			now, err := tx.Account(account.ID)
			if err != nil || now.Epoch != account.Epoch {
				return err // the password changed meanwhile: leave it
			}
			return tx.PutPasswordVerifier(account.ID, v)
		})
	}
	if err != nil && !errors.Is(err, ErrCharacters) {
		a.Logger.WarnContext(ctx, "auth.renew failed", "account", account.Addresses[0], "err", err)
	}
}

func deriveVerifier(prepared string, salt []byte, iterations int) (v storage.Verifier, err error) {
	salted, err := pbkdf2.Key(sha256.New, prepared, salt, iterations, sha256.Size)
	if err != nil {
		return v, fmt.Errorf("make a SCRAM verifier: %w", err)
	}
	clientKey := hmacSHA256(salted, "Client Key")
	v.StoredKey, v.ServerKey = sha256.Sum256(clientKey[:]), hmacSHA256(salted, "Server Key")
	v.Iterations = uint32(iterations)
	return v, nil
}

func hmacSHA256(key []byte, data string) [sha256.Size]byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(data))
	return [sha256.Size]byte(m.Sum(nil))
}

// maxSCRAM is how many octets a client's message has at most.
const maxSCRAM = 4096

// What the log says of refusals.
var (
	errDowngrade = errors.New("the client did not see SCRAM-SHA-256-PLUS, which was offered")
	errBinding   = errors.New("the channel binding is none, or not tls-exporter")
	errProof     = errors.New("the proof is wrong")
)

// scramOffered says whether SCRAM can open anything.
func (a *Authenticator) scramOffered() bool {
	return !a.SCRAM.Off && !(a.SCRAM.AppPasswordsOnly && a.AppPasswords.Off)
}

// scramRun is one exchange of SCRAM-SHA-256 or -PLUS (RFC 5802, RFC 7677).
//
// An account may have several secrets, of which the client's is one; it does not
// say which. Since they share a salt, the proof is held against each.
//
// For a name that is nobody's there is a salt too, always the same one, and
// nothing matches. (Two names of one account show the same salt; that cannot be
// helped.)
type scramRun struct {
	*Exchange
	first string // the client's first message
	nonce string // our part of it
	salt  string
	user  *Attempt
	d     *dossier
}

// scram takes the client's first message.
func (e *Exchange) scram(ctx context.Context, response []byte) ([]byte, step, error) {
	if len(response) > maxSCRAM || !utf8.Valid(response) {
		return nil, nil, ErrSyntax
	}
	s := &scramRun{Exchange: e, first: string(response), nonce: rand.Text(), user: &Attempt{Mech: e.mech}}
	if err := s.binding(); err != nil {
		return e.finish(e.a.settle(ctx, e.c, s.user, nil, nil, &Refusal{Code: BadCredentials, Cause: err}))
	}
	parsed := s.conversation(storage.Verifier{})
	reply, err := parsed.Step(s.first)
	if err != nil || parsed.Username() == "" || !s.clientNonce(reply) {
		return nil, nil, ErrSyntax
	}
	s.user.User, s.user.AuthzID = parsed.Username(), parsed.AuthzID()
	if err := s.lookUp(ctx); err != nil {
		return e.finish(e.a.settle(ctx, e.c, s.user, nil, nil, &Refusal{Code: Unavailable, Cause: err}))
	}
	reply, err = s.conversation(storage.Verifier{}).Step(s.first)
	return []byte(reply), s.final, err
}

// binding looks at what the client says of channel bindings (RFC 5802 section 6).
// A flag that there is not is left to the parser.
func (s *scramRun) binding() error {
	flag, _, _ := strings.Cut(s.first, ",")
	plus := s.mech == mechScramPlus
	switch {
	case flag == "y" && slices.Contains(s.a.Mechanisms(s.c), mechScramPlus):
		return errDowngrade
	case plus && flag != "p=tls-exporter", !plus && strings.HasPrefix(flag, "p="):
		return errBinding
	}
	return nil
}

// clientNonce says whether the client's part of the nonce in our reply is one or
// more printable characters (RFC 5802 section 7).
func (s *scramRun) clientNonce(reply string) bool {
	nonce, _, ok := strings.Cut(strings.TrimPrefix(reply, "r="), s.nonce)
	odd := func(r rune) bool { return r < 0x21 || r > 0x7e }
	return ok && nonce != "" && !strings.ContainsFunc(nonce, odd)
}

// lookUp finds the account and its salt, or the salt of a name that is nobody's.
func (s *scramRun) lookUp(ctx context.Context) (err error) {
	if s.d, err = s.a.lookUp(ctx, s.user.User, ""); err != nil {
		return err
	}
	salt := s.a.Store.MAC(scramLabel, []byte(s.d.name))
	if s.d.account != nil {
		err = s.a.Store.View(ctx, func(tx *storage.Tx) (err error) {
			salt, err = tx.MAC(s.d.account.ID, scramLabel, nil)
			return err
		})
	}
	s.salt = string(salt[:])
	return err
}

// conversation is our side against one verifier, with the nonce of this exchange.
func (s *scramRun) conversation(v storage.Verifier) *scram.ServerConversation {
	server, _ := scram.SHA256.NewServer(func(string) (scram.StoredCredentials, error) { // never fails
		return scram.StoredCredentials{
			KeyFactors: scram.KeyFactors{Salt: s.salt, Iters: s.a.SCRAM.Iterations},
			StoredKey:  v.StoredKey[:], ServerKey: v.ServerKey[:],
		}, nil
	})
	server.WithNonceGenerator(func() string { return s.nonce })
	if s.mech == mechScramPlus {
		return server.NewConversationWithChannelBindingRequired(scram.ChannelBinding{
			Type: scram.ChannelBindingTLSExporter, Data: s.c.TLS.Binding,
		})
	}
	return server.NewConversation()
}

// final takes the client's proof, and answers with ours: a client may want to
// know that it has not given its proof to anybody else.
func (s *scramRun) final(ctx context.Context, response []byte) ([]byte, step, error) {
	if len(response) > maxSCRAM || !utf8.Valid(response) {
		return nil, nil, ErrSyntax
	}
	proof := string(response)
	reply, err := s.guess(ctx, proof)
	if errors.Is(err, ErrSyntax) {
		return nil, nil, ErrSyntax
	}
	if err != nil {
		return s.finish(s.a.settle(ctx, s.c, s.user, s.d.account, nil, err))
	}
	// The client knows now that the proof was right, and may leave it at that.
	e := s.a.entry(s.c, "auth.proof")
	e.Account, e.Mech = s.d.account.Addresses[0], s.mech
	s.a.note(e)
	return []byte(reply), func(ctx context.Context, response []byte) ([]byte, step, error) {
		if len(response) > 0 {
			return nil, nil, ErrSyntax
		}
		// The client may have taken its time: what it has proven must hold now.
		account, cl, _, err := s.prove(ctx, proof)
		return s.finish(s.a.settle(ctx, s.c, s.user, account, cl, err))
	}, nil
}

// guess checks a proof as far as the throttle lets it. Each counts as a guess of
// the account's password, unless that opens nothing here.
func (s *scramRun) guess(ctx context.Context, proof string) (reply string, err error) {
	if err := s.a.remember(ctx, s.c, s.d); err != nil {
		return "", &Refusal{Code: Unavailable, Cause: err}
	}
	name := s.d.name
	if s.a.SCRAM.AppPasswordsOnly {
		name = appName(name)
	}
	// Which secret it is a guess of cannot be seen: each exchange is another one.
	ticket, err := s.a.limiter.begin(ctx, name, s.c.Remote, s.a.tag(name, s.d.account, s.first+s.nonce))
	if err != nil {
		return "", err
	}
	_, cl, reply, err := s.prove(ctx, proof)
	switch {
	case errors.Is(err, errProof):
		ticket.fail()
	case err == nil && cl.app == 0:
		ticket.succeed()
	default: // nothing was guessed
		ticket.drop()
	}
	return reply, err
}

// prove holds a proof against all secrets that the account has now.
func (s *scramRun) prove(ctx context.Context, proof string) (account *storage.Account, cl *claim, reply string, err error) {
	account, own, apps, err := s.secrets(ctx)
	if err != nil {
		return account, nil, "", &Refusal{Code: Unavailable, Cause: err}
	}
	verifiers := []storage.Verifier{own}
	for i := range apps {
		verifiers = append(verifiers, apps[i].Verifier)
	}
	// It shall not show how many there are, if any.
	for len(verifiers) <= s.a.AppPasswords.PerAccount {
		verifiers = append(verifiers, storage.Verifier{})
	}
	matched := -1
	for i, v := range verifiers {
		c := s.conversation(v)
		_, _ = c.Step(s.first) // went well before
		answer, err := c.Step(proof)
		if err != nil && answer == "" {
			return account, nil, "", ErrSyntax
		}
		if err == nil && v != (storage.Verifier{}) {
			matched, reply = i, answer
		}
	}
	switch {
	case matched < 0:
		return account, nil, "", &Refusal{Code: BadCredentials, Cause: errProof}
	case matched == 0:
		return account, &claim{level: LevelPassword}, reply, nil
	}
	cl, err = s.a.byAppPassword(s.c, account.ID, &apps[matched-1])
	return account, cl, reply, err
}

// secrets reads the account and its verifiers as they are now. There are none for a
// name that is nobody's.
func (s *scramRun) secrets(ctx context.Context) (account *storage.Account, own storage.Verifier, apps []storage.AppPassword, err error) {
	if s.d.account == nil {
		return nil, own, nil, nil
	}
	err = s.a.Store.View(ctx, func(tx *storage.Tx) (err error) {
		if account, err = tx.Account(s.d.account.ID); err != nil {
			return err
		}
		if account.State == storage.Erasing || len(account.Addresses) == 0 {
			account = nil
			return nil
		}
		if apps, err = tx.AppPasswords(account.ID); err != nil || s.a.SCRAM.AppPasswordsOnly {
			return err
		}
		v, err := tx.PasswordVerifier(account.ID)
		if v != nil {
			own = *v
		}
		return err
	})
	if errors.Is(err, storage.ErrNoAccount) {
		return nil, storage.Verifier{}, nil, nil
	}
	return account, own, apps, err
}
