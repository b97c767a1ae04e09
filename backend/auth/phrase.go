package auth

import (
	"errors"

	"telesphore/tls"
)

// phrases are the sentences that tell people what to do, in one language. They
// are ASCII, since IMAP and SMTP carry nothing else to every program; a door adds
// its own code. None tells a stranger what only the owner may know.
type phrases struct {
	CodeSent    string // a code has been sent, or was a moment ago
	CodeTOTP    string // the code is in the person's authenticator
	CodeLater   string // no further code can be sent now
	CodeOver    string // the code that was once behind the password is over
	CodesOff    string // too many wrong codes
	NoFactor    string // level 2 needed, and the account has no second factor
	NeedCode    string // level 2 needed for an action
	NeedCard    string // level 3 needed
	Unlinked    string
	NoWindow    string // this card is not linked, and may not be by its first use
	Expired     string
	NotYetValid string
	Revoked     string
	Foreign     string
	Usage       string
	Unchecked   string // revocation cannot be checked now
	Disabled    string
	PlainOnly   string // a code is needed, and this mechanism cannot carry it
}

func english() *phrases {
	return &phrases{
		CodeSent:    "A code was sent to your contact address: type your password followed at once by the code",
		CodeTOTP:    "Type your password followed at once by the code that your authenticator shows",
		CodeLater:   "No other code can be sent yet: wait a moment, then type your password again",
		CodeOver:    "Your code has expired: type your password without a code to get a new one",
		CodesOff:    "Too many wrong codes: log in with your card, or ask your administrator",
		NoFactor:    "Strong authentication is required: use your card, or have one-time codes switched on",
		NeedCode:    "Strong authentication (card or one-time code) is required",
		NeedCard:    "Strong authentication (card) is required",
		Unlinked:    "This card is not linked to an account yet: log in once with the card and your password",
		NoWindow:    "Your card is not linked to this account and may not be linked now: ask your administrator",
		Expired:     "The card is refused: its certificate has expired",
		NotYetValid: "The card is refused: its certificate is not valid yet",
		Revoked:     "The card is refused: its certificate has been revoked",
		Foreign:     "The card is refused: it was issued by an authority that is not accepted here",
		Usage:       "The card is refused: this certificate is not the one for authentication",
		Unchecked:   "Cards cannot be checked at the moment: use your password, or try again later",
		Disabled:    "The account is disabled: ask your administrator",
		PlainOnly:   "A one-time code is needed: choose the authentication method \"password\" (PLAIN) in your mail program",
	}
}

func french() *phrases {
	return &phrases{
		CodeSent:    "Un code a ete envoye a votre adresse de contact : tapez votre mot de passe suivi aussitot du code",
		CodeTOTP:    "Tapez votre mot de passe suivi aussitot du code affiche par votre application d'authentification",
		CodeLater:   "Aucun autre code ne peut encore etre envoye : patientez un moment, puis retapez votre mot de passe",
		CodeOver:    "Votre code a expire : tapez votre mot de passe sans code pour en recevoir un nouveau",
		CodesOff:    "Trop de codes errones : connectez-vous avec votre carte, ou voyez votre administrateur",
		NoFactor:    "Une authentification forte est requise : utilisez votre carte, ou faites activer le code a usage unique",
		NeedCode:    "Une authentification forte (carte ou code a usage unique) est requise",
		NeedCard:    "Une authentification forte (carte) est requise",
		Unlinked:    "Cette carte n'est pas encore liee a un compte : connectez-vous une fois avec la carte et votre mot de passe",
		NoWindow:    "Votre carte n'est pas liee a ce compte et ne peut l'etre en ce moment : voyez votre administrateur",
		Expired:     "Carte refusee : son certificat a expire",
		NotYetValid: "Carte refusee : son certificat n'est pas encore valable",
		Revoked:     "Carte refusee : son certificat a ete revoque",
		Foreign:     "Carte refusee : elle provient d'une autorite qui n'est pas acceptee ici",
		Usage:       "Carte refusee : ce certificat n'est pas celui d'authentification",
		Unchecked:   "Les cartes ne peuvent etre verifiees en ce moment : utilisez votre mot de passe, ou reessayez plus tard",
		Disabled:    "Le compte est desactive : voyez votre administrateur",
		PlainOnly:   "Un code a usage unique est requis : choisissez \"mot de passe normal\" (PLAIN) dans votre logiciel",
	}
}

// phrases returns the sentences of the server's language.
func (a *Authenticator) phrases() *phrases {
	if a.Language == "fr" {
		return french()
	}
	return english()
}

// strong says that an action needs level.
func (p *phrases) strong(level int) string {
	if level >= LevelCard {
		return p.NeedCard
	}
	return p.NeedCode
}

// card says why a card is refused.
func (p *phrases) card(cause error) string {
	switch {
	case errors.Is(cause, tls.ErrExpired):
		return p.Expired
	case errors.Is(cause, tls.ErrNotYetValid):
		return p.NotYetValid
	case errors.Is(cause, tls.ErrRevoked):
		return p.Revoked
	case errors.Is(cause, tls.ErrUsage):
		return p.Usage
	case errors.Is(cause, tls.ErrRevocationUnknown):
		return p.Unchecked
	}
	return p.Foreign
}
