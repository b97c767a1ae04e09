package imapd

import (
	"context"
	"log/slog"
	"slices"
	"strconv"
	"strings"
)

// capabilities lists what is true of the connection as it is now.
func (s *session) capabilities() string {
	list := []string{"IMAP4rev1", "IMAP4rev2", "LITERAL+", "ENABLE", "ID"}
	switch {
	case s.who != nil:
		list = append(list,
			"IDLE", "NAMESPACE", "CHILDREN", "UIDPLUS", "MOVE", "UNSELECT",
			"LIST-EXTENDED", "LIST-STATUS", "SPECIAL-USE", "CREATE-SPECIAL-USE",
			"ESEARCH", "SEARCHRES", "STATUS=SIZE", "CONDSTORE", "BINARY", "UTF8=ACCEPT",
			"OBJECTID", "SAVEDATE",
			"APPENDLIMIT="+strconv.FormatInt(s.srv.Limits.Message, 10))
	default:
		if !s.tls && s.srv.TLS != nil {
			list = append(list, "STARTTLS")
		}
		list = append(list, "SASL-IR")
		if s.mayLogIn() {
			for _, mech := range s.srv.Auth.Mechanisms(s.caller) {
				list = append(list, "AUTH="+mech)
			}
		} else {
			list = append(list, "LOGINDISABLED")
		}
	}
	list = slices.DeleteFunc(list, s.hidden)
	return strings.Join(list, " ")
}

func (s *session) hidden(name string) bool {
	return slices.ContainsFunc(s.srv.HideCapabilities, func(h string) bool {
		return strings.EqualFold(h, name)
	})
}

func (s *session) writeCapabilities() { s.out.Raw(s.capabilities()) }

// capability is CAPABILITY (RFC 9051 section 6.1.1).
func (s *session) capability(ctx context.Context, tag string) (string, error) {
	if err := s.dec.End(); err != nil {
		return "", err
	}
	s.out.Raw("* CAPABILITY ")
	s.writeCapabilities()
	s.out.CRLF()
	return "", nil
}

// noop is NOOP and CHECK: what happened is told with every answer.
func (s *session) noop(ctx context.Context, tag string) (string, error) {
	return "", s.dec.End()
}

// logout is LOGOUT (RFC 9051 section 6.1.3).
func (s *session) logout(ctx context.Context, tag string) (string, error) {
	if err := s.dec.End(); err != nil {
		return "", err
	}
	s.out.Raw("* BYE Logging out\r\n").Raw(tag).Raw(" OK LOGOUT completed\r\n")
	s.end = errLoggedOut
	return "", nil
}

// namespace is NAMESPACE (RFC 9051 section 6.3.10): everything is the user's own.
func (s *session) namespace(ctx context.Context, tag string) (string, error) {
	if err := s.dec.End(); err != nil {
		return "", err
	}
	s.out.Raw(`* NAMESPACE (("" "/")) NIL NIL`).CRLF()
	return "", nil
}

// enable is ENABLE (RFC 9051 section 6.3.1). Names that are not known, or have
// nothing to be enabled, are passed over.
func (s *session) enable(ctx context.Context, tag string) (string, error) {
	var names []string
	for s.dec.SP(); s.dec.Err() == nil; {
		names = append(names, s.dec.Keyword())
		if !s.dec.TrySP() {
			break
		}
	}
	if err := s.dec.End(); err != nil {
		return "", err
	}
	s.out.Raw("* ENABLED")
	for _, name := range names {
		switch name {
		case "CONDSTORE":
			s.enableCondStore()
		case "UTF8=ACCEPT":
			s.utf8 = true
		case "IMAP4REV2":
			s.rev2, s.utf8, name = true, true, "IMAP4rev2"
		default:
			continue
		}
		s.out.SP().Raw(name)
	}
	s.out.CRLF()
	s.tune()
	return "", nil
}

// identify is ID (RFC 2971). Name and version of the client go to the log, for
// they help when it misbehaves; the rest is nobody's business.
func (s *session) identify(ctx context.Context, tag string) (string, error) {
	s.dec.SP()
	var name, version string
	if s.dec.Peek() == '(' {
		s.dec.ListOrEmpty(func() {
			key := s.dec.String()
			s.dec.SP()
			value, _ := s.dec.NString()
			switch strings.ToLower(key) {
			case "name":
				name = value
			case "version":
				version = value
			}
		})
	} else if _, ok := s.dec.NString(); ok {
		s.dec.Fail("list or NIL expected")
	}
	if err := s.dec.End(); err != nil {
		return "", err
	}
	if name != "" {
		s.log.LogAttrs(ctx, slog.LevelInfo, "mail program",
			slog.String("name", shorten(name)), slog.String("version", shorten(version)))
	}
	s.out.Raw(`* ID ("name" "Telesphore"`)
	if s.srv.Version != "" && s.who != nil {
		s.out.Raw(` "version" `).String(s.srv.Version)
	}
	s.out.Raw(")\r\n")
	return "", nil
}

// shorten keeps of a client's word what is fit for a log.
func shorten(word string) string {
	word = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, strings.ToValidUTF8(word, ""))
	const enough = 64
	if len(word) > enough {
		word = strings.ToValidUTF8(word[:enough], "")
	}
	return word
}
