package smtpd

import (
	"errors"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// passwordCheck says whether somebody may log in. Its error is a reply.
type passwordCheck func(mech, authzID, user, secret string) error

// mechanism returns the server side of a SASL mechanism, nil when it is not offered.
func mechanism(name string, check passwordCheck) sasl.Server {
	switch name {
	case sasl.Plain:
		return replies{sasl.NewPlainServer(func(authzID, user, secret string) error {
			return check(sasl.Plain, authzID, user, secret)
		})}
	case sasl.Login:
		return &loginServer{check: check}
	}
	return nil
}

// replies makes every error a reply: go-smtp shows others' texts to the client.
type replies struct{ sasl.Server }

// Next implements sasl.Server.
func (r replies) Next(response []byte) ([]byte, bool, error) {
	challenge, done, err := r.Server.Next(response)
	var refusal *smtp.SMTPError
	if err != nil && !errors.As(err, &refusal) {
		err = errSASLSyntax
	}
	return challenge, done, err
}

// loginServer speaks LOGIN (draft-murchison-sasl-login-00), which old Outlooks and
// devices need. Thunderbird compares the prompts letter by letter.
type loginServer struct {
	check passwordCheck
	user  *string
}

// Next implements sasl.Server.
func (l *loginServer) Next(response []byte) (challenge []byte, done bool, err error) {
	switch {
	case response == nil && l.user == nil:
		return []byte("Username:"), false, nil
	case l.user == nil:
		user := string(response)
		l.user = &user
		return []byte("Password:"), false, nil
	}
	return nil, true, l.check(sasl.Login, "", *l.user, string(response))
}
