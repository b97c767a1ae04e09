package message

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestDecodeHeader(t *testing.T) {
	tests := map[string]string{
		"plain":                               "plain",
		"=?utf-8?Q?caf=C3=A9?=":               "café",
		"=?UTF-8?b?Y2Fmw6k=?= noir":           "café noir",
		"=?utf-8?Q?a?= =?utf-8?Q?b?=":         "ab",
		"=?utf-8?Q?a?= b =?utf-8?Q?c?=":       "a b c",
		"=?utf-8?Q?a_b=20c?=":                 "a b c",
		"=?iso-8859-1*fr?Q?caf=E9?=":          "café",
		"=?iso-8859-15?Q?=A4?=":               "€",
		"=?windows-1252?Q?=80?=":              "€",
		"=?iso-2022-jp?B?GyRCRnxLXBsoQg==?=":  "日本",
		"=?ibm850?Q?=82?=":                    "é",
		"=?utf-8?B?ww==?= =?utf-8?B?qQ==?=":   "é", // a character split between words
		"=?utf-8?Q?=C3?= =?utf-8?Q?=A9?=":     "é",
		"=?utf-8?Q?=C3?= =?us-ascii?Q?x?=":    "\uFFFDx",
		"=?utf-8?Q?=E9?=":                     "\uFFFD",
		"=?x-unknown?Q?caf=E9?=":              "café",
		"=?utf-8?X?abc?=":                     "=?utf-8?X?abc?=",
		"=?utf-8?Q?abc":                       "=?utf-8?Q?abc",
		"=?utf-8?Q?a b?=":                     "a b",
		"a=?utf-8?Q?=41?=b":                   "aAb",
		"=?=?utf-8?Q?x?=":                     "=?x",
		"=?utf-8?Q?a=ZZ=4?=":                  "a=ZZ=4",
		"caf\xe9":                             "café",
		"caf\xc3\xa9":                         "café",
		"caf\xe9 =?utf-8?Q?no=C3=AFr?=":       "café noïr",
		"=?iso-2022-kr?Q?text?=":              "text",
		"=?utf-8?B?!Y2Fm*w6k?=":               "café",
		"=?utf-8?Q??=":                        "",
		"=?us-ascii?Q?a?=  =?us-ascii?Q?b?= ": "ab",
	}
	for raw, want := range tests {
		if got := DecodeHeader(raw); got != want {
			t.Errorf("%q: %q, want %q", raw, got, want)
		}
	}
}

func TestAddresses(t *testing.T) {
	header := crlf("To: =?utf-8?Q?Ren=C3=A9?= <r@x>, b@x,\n team: \"Lee, Ann\" <a@x>;\nCc: c@x\nto: postmaster\n\n")
	want := []string{"René <r@x>", "b@x", "team:", "Lee, Ann <a@x>", "postmaster"}
	if got := Addresses(header, "To"); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestDecode(t *testing.T) {
	tests := []struct{ encoding, in, want string }{
		{"", "a=\r\n", "a=\r\n"},
		{"7BIT", "a", "a"},
		{"8bit", "\xe9", "\xe9"},
		{"binary", "\x00\r", "\x00\r"},
		{"Base64", "aGVsbG8g\r\nd29ybGQ=\r\n", "hello world"},
		{"base64", "aGVsbG8", "hello"},
		{"base64", "aGVs!bG8=", "hello"},
		{"base64", "aGVsbG8=\r\naGVsbG8=", "hellohello"},
		{"base64", "a", ""},
		{"base64", "=", ""},
		{"quoted-printable", "caf=C3=A9 \t\r\nno=\r\nir=\n!", "café\r\nnoir!"},
		{"quoted-printable", "a= \r\nb=zz=4", "ab=zz=4"},
		{"quoted-printable", "a=c3=A9\nb", "a\xc3\xa9\nb"},
	}
	for _, test := range tests {
		got, err := Decode(test.encoding, []byte(test.in))
		if err != nil || string(got) != test.want {
			t.Errorf("%s of %q: %q, %v", test.encoding, test.in, got, err)
		}
	}
	if _, err := Decode("x-own", nil); !errors.Is(err, ErrEncoding) {
		t.Errorf("an unknown encoding: %v", err)
	}
}

func TestTextOfParts(t *testing.T) {
	tests := []struct{ name, header, body, want string }{
		{"no charset", "", "caf\xc3\xa9", "café"},
		{"no charset, 8-bit", "", "caf\xe9", "café"},
		{"latin", "Content-Type: text/plain; charset=ISO-8859-1\n", "caf\xe9", "café"},
		{"declared ASCII", "Content-Type: text/plain; charset=us-ascii\n", "caf\xe9", "café"},
		{"UTF-8 with errors", "Content-Type: text/plain; charset=utf-8\n", "caf\xe9!", "caf\uFFFD!"},
		{"UTF-16", "Content-Type: text/plain; charset=utf-16be\nContent-Transfer-Encoding: base64\n", "AGEA6Q==", "aé"},
		{"quoted-printable", "Content-Type: text/html; charset=windows-1252\nContent-Transfer-Encoding: quoted-printable\n", "=80=\nx", "€x"},
		{"not text", "Content-Type: application/x-own\nContent-Transfer-Encoding: base64\n", "6Q==", "\xe9"},
		{"unknown encoding", "Content-Transfer-Encoding: x-own\n", "abc", "abc"},
	}
	for _, test := range tests {
		octets := crlf(test.header + "\n" + test.body)
		if got := Describe(octets).Root().Text(octets); string(got) != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

func TestTextsToSearch(t *testing.T) {
	octets := crlf("Subject: =?utf-8?Q?=C3=A9?=\n folded\nContent-Type: multipart/mixed; boundary=a\n\n--a\nX: one\n\ntext one\n--a\nContent-Type: message/rfc822\n\nSubject: =?utf-8?Q?=C3=A8?=\n\ntext two\n--a--\n")
	root := Describe(octets).Root()
	tests := []struct {
		header bool
		want   string
	}{
		{false, `["text one" "Subject: è" "text two"]`},
		{true, `["Subject: é folded\nContent-Type: multipart/mixed; boundary=a" "X: one" "text one" "Content-Type: message/rfc822" "Subject: è" "text two"]`},
	}
	for _, test := range tests {
		var got []string
		for text := range root.Texts(octets, test.header) {
			got = append(got, strings.ReplaceAll(strings.TrimSpace(string(text)), "\r\n", "\n"))
		}
		if fmt.Sprintf("%q", got) != test.want {
			t.Errorf("header %v: %q", test.header, got)
		}
	}
	for range root.Texts(octets, true) {
		break // a search that has found stops
	}
}
