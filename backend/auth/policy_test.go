package auth

import (
	"errors"
	"regexp"
	"testing"
)

func TestPolicy(t *testing.T) {
	var a Authenticator
	for _, c := range []struct {
		password string
		want     error
	}{
		{"cheval-agrafe-pile-92", nil},
		{"Vivaldi jouait du basson", nil},
		{"xkRt9vTq2Lmz", nil},
		{"été à la ferme dans l'Aubrac", nil},
		{"h7$kPz!qW3@v", nil},
		{"short-one-1", ErrTooShort},
		{"éééààùùôôô", ErrTooShort},
		{"password1234", ErrTooCommon},
		{"Password2024!", ErrTooCommon},
		{"P@ssw0rd12345", ErrTooCommon},
		{"motdepasse2025", ErrTooCommon},
		{"Bonjour123456!", ErrTooCommon},
		{"bonjourbonjour", ErrTooCommon},
		{"azertyuiop123", ErrTooCommon},
		{"qsdfghjklm456", ErrTooCommon},
		{"1qaz2wsx3edc", ErrTooCommon},
		{"123456789012", ErrTooCommon},
		{"abcdefghijklmnop", ErrTooCommon},
		{"0987654321098", ErrTooCommon},
		{"aaaaaaaaaaaaaa", ErrTooCommon},
		{"abcabcabcabcabc", ErrTooCommon},
		{"hopitalparis2024", ErrTooCommon},
		{"01/02/1980-1980", ErrTooCommon},
		{"Docteur.Hopital.75", ErrTooCommon},
		{"with\ttab-and-more", ErrCharacters},
		{"\xff\xfe-not-utf-8-text", ErrCharacters},
		{"xx-dupont-kzqvw-7", ErrHasName},
		{"XX-DuPonT-kzqvw-7", ErrHasName},
	} {
		if err := a.CheckPolicy("dupont@hopital.test", c.password); !errors.Is(err, c.want) {
			t.Errorf("%q: %v, want %v", c.password, err, c.want)
		}
	}
}

func TestGenerate(t *testing.T) {
	var a Authenticator
	shape := regexp.MustCompile(`^[a-z2-9]{6}(-[a-z2-9]{6}){2}$`)
	seen := map[string]bool{}
	for range 1000 {
		p := a.Generate()
		if !shape.MatchString(p) || seen[p] {
			t.Fatalf("generated %q", p)
		}
		seen[p] = true
		if err := a.CheckPolicy("medecin@hopital.test", p); err != nil {
			t.Fatalf("%q: %v", p, err)
		}
	}
}
