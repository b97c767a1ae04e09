package auth

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"telesphore/storage"
)

// Kind is what a Notice is about.
type Kind int

// The kinds of a Notice.
const (
	LogInCode          Kind = iota + 1 // Code opens the account, behind the password
	ContactCode                        // Code proves that Contact reads this mail
	CardLinked                         // Card opens the account from now on
	CardRenewed                        // a new certificate of a linked card was used
	CardRemoved                        // Card opens the account no more
	CardMismatch                       // a card that was not the expected one came with the right password
	NewNetwork                         // somebody logged in from where nobody has before
	CodesOn                            // codes were switched on
	CodesOff                           // codes were switched off
	AppPasswordMade                    // an application password was made
	AppPasswordRemoved                 // one was removed
)

func (k Kind) String() string {
	names := []string{
		"log-in code", "contact code", "card linked", "card renewed", "card removed", "card mismatch", "new network",
		"codes on", "codes off", "application password made", "application password removed",
	}
	if k < 1 || int(k) > len(names) {
		return fmt.Sprintf("kind %d", int(k))
	}
	return names[k-1]
}

// Notice is something that the owner of an account should know. It holds nothing
// of any message.
type Notice struct {
	Kind    Kind
	Account storage.AccountID
	Address string // of the account
	Contact string // outside address, "" for none
	Lang    string // "fr" or "en"
	When    time.Time

	Code string        // of a code mail; secret
	Life time.Duration // of Code

	Card   string     // the name on a card
	Name   string     // of an application password
	Proto  string     // door that it came through, "" for the administration
	Remote netip.Addr // where it came from, if anywhere
}

// tell hands a notice on, also when whoever caused it has left: nobody hides what
// he did by hanging up.
func (a *Authenticator) tell(ctx context.Context, n *Notice) error {
	n.Lang, n.When = a.Language, time.Now()
	if a.Notify == nil {
		return nil
	}
	err := a.Notify(context.WithoutCancel(ctx), n)
	if err != nil {
		a.Logger.WarnContext(ctx, "auth.notice not sent", "kind", n.Kind, "account", n.Address, "err", err)
	}
	return err
}
