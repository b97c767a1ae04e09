package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"telesphore/backend/auth"
	"telesphore/storage"
)

// demoPasswords is where each operator's passwords stay the same from run to run.
const demoPasswords = "passwords.json"

// demoAccount is an account as demo.json tells it.
type demoAccount struct {
	Address  string `json:"address"`
	Password string `json:"password"`
	Card     string `json:"card"` // "linked", "unlinked" or "none"
	OTP      bool   `json:"otp"`
	Contact  string `json:"contact,omitempty"`
	P12      string `json:"p12,omitempty"`
	P12Word  string `json:"p12_password,omitempty"`
	Cert     string `json:"cert,omitempty"`
	Key      string `json:"key,omitempty"`
	role     string
	name     string
}

// demoAccounts are the accounts of a domain.
func demoAccounts(domain string) []demoAccount {
	people := map[string][]demoAccount{
		demoDomain: {
			{role: "medecin", name: "Médecin généraliste", Card: "unlinked"},
			{role: "cardiologue", name: "Cardiologue", Card: "linked"},
			{role: "infirmier", name: "Infirmier libéral", Card: "linked", OTP: true},
			{role: "secretariat", name: "Secrétariat de cardiologie", Card: "none"},
			{role: "labo", name: "Laboratoire d'analyses", Card: "linked"},
		},
		demoPeer: {
			{role: "pharmacie", name: "Pharmacie de la clinique", Card: "linked"},
		},
	}[domain]
	for i := range people {
		p := &people[i]
		p.Address = p.role + "@" + domain
		if p.Card != "none" && p.role != "labo" {
			p.Contact = p.role + "@" + demoInternet
		}
	}
	return people
}

// secret is what the directory remembers about an account's password. Epoch is
// the account's when the password was set: when it has moved, somebody changed
// the password, and the one that demo.json promises is set again.
type secret struct {
	Password string `json:"password"`
	Epoch    uint32 `json:"epoch"`
}

// people makes the accounts that are missing and returns all with their passwords.
func (o *operator) people(ctx context.Context) ([]demoAccount, error) {
	secrets := make(map[string]secret)
	octets, err := os.ReadFile(o.file(demoPasswords))
	if err == nil {
		err = json.Unmarshal(octets, &secrets)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the demo's passwords: %w", err)
	}
	people := demoAccounts(o.domain)
	for i := range people {
		p := &people[i]
		card, err := o.demo.trust.give(p)
		if err != nil {
			return nil, err
		}
		known, ok := secrets[p.Address]
		if !ok {
			known.Password = o.server.auth.Generate()
		}
		p.Password = known.Password
		if known.Epoch, err = o.server.ensureAccount(ctx, p, card, known.Epoch); err != nil {
			return nil, fmt.Errorf("make the account %s: %w", p.Address, err)
		}
		secrets[p.Address] = known
	}
	if octets, err = json.MarshalIndent(secrets, "", "  "); err != nil {
		return nil, fmt.Errorf("encode the demo's passwords: %w", err)
	}
	return people, writeFile(o.file(demoPasswords), octets)
}

// ensureAccount makes the account if need be, gives it the password that it
// should have unless its epoch tells that it has, and returns its epoch.
func (s *server) ensureAccount(ctx context.Context, p *demoAccount, card *auth.Card, epoch uint32) (uint32, error) {
	find := func(tx *storage.Tx) (a *storage.Account, err error) { return tx.AccountByAddress(p.Address) }
	var a *storage.Account
	err := s.store.View(ctx, func(tx *storage.Tx) (err error) { a, err = find(tx); return err })
	if err == nil && a.Epoch == epoch {
		return epoch, nil
	}
	if errors.Is(err, storage.ErrNoAccount) {
		a = &storage.Account{Addresses: []string{p.Address}, Name: p.name, Created: time.Now()}
		if err = s.auth.NewAccount(ctx, a, p.Password, "", demoActor); err == nil {
			err = s.store.Update(ctx, func(tx *storage.Tx) error { return p.strengthen(tx, a.ID, card) })
		}
	} else if err == nil {
		err = s.auth.SetPassword(ctx, s.auth.Acting(a, demoActor), p.Password)
	}
	if err != nil {
		return 0, err
	}
	err = s.store.View(ctx, func(tx *storage.Tx) (err error) { a, err = find(tx); return err })
	if err != nil {
		return 0, err
	}
	return a.Epoch, nil
}

// demoActor is who makes the accounts, in the audit trail.
const demoActor = "demo"

// strengthen gives a new account what it has beside a password. A card that is
// not linked yet is the only one that its first use may link.
func (p *demoAccount) strengthen(tx *storage.Tx, id storage.AccountID, card *auth.Card) error {
	if p.Contact != "" {
		f := &storage.Factor{Contact: p.Contact, CodesOn: p.OTP, Since: time.Now(), By: demoActor}
		if err := tx.PutFactor(id, f); err != nil {
			return err
		}
	}
	switch p.Card {
	case "linked":
		err := tx.PutCard(id, &storage.Card{
			Identity: card.Identity, Organisation: card.Organisation, Holder: card.Holder, By: demoActor,
			Linked: time.Now(), Serial: card.Serial, Issuer: card.Issuer, NotAfter: card.NotAfter,
		})
		return errors.Join(err, tx.PutLinkWindow(id, nil))
	case "unlinked":
		return tx.PutLinkWindow(id, &storage.LinkWindow{Expected: card.Identity, By: demoActor})
	}
	return tx.PutLinkWindow(id, nil)
}
