package smtpd

import (
	"testing"

	"telesphore/storage"
)

// Who may not write to a list is told so at RCPT, in his language.
func TestListsAtRcpt(t *testing.T) {
	l := newServer(t, Limits{})
	l.Router.SubAddress = "+"
	l.update(func(tx *storage.Tx) error {
		for _, a := range []storage.Alias{
			{Address: "open@hopital.test", Members: []string{bob}},
			{Address: "closed@hopital.test", Members: []string{bob}, Writers: storage.Members},
			{Address: "off@hopital.test", Members: []string{bob}, State: storage.Disabled},
			{Address: "empty@hopital.test", Members: []string{"gone@hopital.test"}},
			{Address: "loop@hopital.test", Members: []string{"loop@hopital.test"}},
		} {
			if err := tx.NewAlias(&a); err != nil {
				return err
			}
		}
		return nil
	})
	l.serve()
	c := l.login()
	c.say("MAIL FROM:<"+alice+">", "250 ")
	c.say("RCPT TO:<closed@hopital.test>", "550 5.7.1 Only its members may write to this list")
	c.say("RCPT TO:<off@hopital.test>", "550 5.2.1 ")
	c.say("RCPT TO:<empty@hopital.test>", "550 5.2.4 ")
	c.say("RCPT TO:<loop@hopital.test>", "550 5.4.6 ")
	c.say("RCPT TO:<nobody+x@hopital.test>", "550 5.1.1 ")
	c.say("RCPT TO:<open+x@hopital.test>", "250 ")
	c.say("RCPT TO:<bob+x@hopital.test>", "250 ")
	c.say("DATA", "354 ")
	c.send("%sBonjour\r\n.\r\n", letter)
	c.want("250 ")
	l.wantMail(letter + "Bonjour\r\n")

	// What comes back to a list goes no further.
	c.say("MAIL FROM:<"+alice+">", "250 ")
	c.say("RCPT TO:<open@hopital.test>", "250 ")
	c.say("DATA", "354 ")
	c.send("Delivered-To: open@hopital.test\r\n%s.\r\n", letter)
	c.want("550 5.4.6 ")
	l.wantMail(letter + "Bonjour\r\n")

	// The null reverse-path is no member.
	c.say("MAIL FROM:<>", "250 ")
	c.say("RCPT TO:<closed@hopital.test>", "550 5.7.1 ")
	c.say("RCPT TO:<open@hopital.test>", "250 ")
	c.say("QUIT", "221 ")
}

func TestListsInFrench(t *testing.T) {
	l := newServer(t, Limits{})
	l.Language = "fr"
	l.update(func(tx *storage.Tx) error {
		return tx.NewAlias(&storage.Alias{Address: "closed@hopital.test", Members: []string{bob}, Writers: storage.Members})
	})
	l.serve()
	c := l.login()
	c.say("MAIL FROM:<"+alice+">", "250 ")
	c.say("RCPT TO:<closed@hopital.test>", "550 5.7.1 Seuls ses membres ")
}
