package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// demoText is what the demo tells people, in one language. Logs and errors are
// in English always: they are for whoever helps.
type demoText struct {
	Title     string
	Directory string
	Authority string
	WhiteList string
	DNS       string
	Door      string
	Security  string
	Account   string
	Password  string
	Card      string
	Code      string
	Cards     map[string]string // by demoAccount.Card
	Codes     map[bool]string   // by demoAccount.OTP
	Trying    string            // how to try cards and codes; gets the folders of cards and of outside mail
	Heading   string            // above Steps
	Steps     [5]string         // setting up Thunderbird: [0] gets the authority's file, [1] an address, [2] and [3] a port, the second operator's and its domain
	Stop      string
}

func english() *demoText {
	return &demoText{
		Title:     "Telesphore is ready: two operators. Accounts and certificates are made up, and only this machine can reach them.",
		Directory: "Directory",
		Authority: "Authority",
		WhiteList: "White list",
		DNS:       "Name server",
		Door:      "DOOR",
		Security:  "SECURITY",
		Account:   "ACCOUNT",
		Password:  "PASSWORD",
		Card:      "CARD",
		Code:      "CODE",
		Cards:     map[string]string{"linked": "linked", "unlinked": "not linked yet", "none": "none"},
		Codes:     map[bool]string{true: "by mail", false: "off"},
		Trying: "Cards are in %s: a certificate and a key each, and both in a .p12 file (password " + demoPassword + ").\n" +
			"Code mails, and all other mail to " + demoInternet + ", arrive in %s.",
		Heading: "To read mail with Thunderbird:",
		Steps: [5]string{
			"Settings > Privacy & Security > Manage Certificates > Authorities > Import %s, and trust it for websites. (At a first start, the icon at the top right of the account window puts that window aside.)",
			"New account: any name and the address %s, Continue; no settings are found, so fill in the two forms that follow.",
			"Incoming server: IMAP, localhost, port %s (%s for %s), SSL/TLS, normal password; the user name is the whole address.",
			"Outgoing server: localhost, port %s (%s for %s), SSL/TLS, normal password, the same user name; then the account's password.",
			"Do the same with a second account and let them write to each other.",
		},
		Stop: "Ctrl-C stops the demo; the same --dir finds everything again.",
	}
}

func french() *demoText {
	return &demoText{
		Title:     "Telesphore est prêt : deux opérateurs. Comptes et certificats sont inventés ; seule cette machine peut les joindre.",
		Directory: "Dossier",
		Authority: "Autorité",
		WhiteList: "Liste blanche",
		DNS:       "Serveur de noms",
		Door:      "PORTE",
		Security:  "SÉCURITÉ",
		Account:   "COMPTE",
		Password:  "MOT DE PASSE",
		Card:      "CARTE",
		Code:      "CODE",
		Cards:     map[string]string{"linked": "liée", "unlinked": "pas encore liée", "none": "aucune"},
		Codes:     map[bool]string{true: "par courriel", false: "non"},
		Trying: "Les cartes sont dans %s : un certificat et une clé chacune, et les deux dans un fichier .p12 (mot de passe " + demoPassword + ").\n" +
			"Les codes, et tout autre courrier à " + demoInternet + ", arrivent dans %s.",
		Heading: "Pour lire le courrier avec Thunderbird :",
		Steps: [5]string{
			"Paramètres > Vie privée et sécurité > Gérer les certificats > Autorités > Importer %s, confirmer pour les sites web. (Au premier démarrage, l'icône en haut à droite de la fenêtre des comptes la met de côté.)",
			"Nouveau compte : un nom et l'adresse %s, Continuer ; aucun réglage n'est trouvé : remplir les deux formulaires qui suivent.",
			"Serveur entrant : IMAP, localhost, port %s (%s pour %s), SSL/TLS, mot de passe normal ; l'identifiant est l'adresse entière.",
			"Serveur sortant : localhost, port %s (%s pour %s), SSL/TLS, mot de passe normal, le même identifiant ; puis le mot de passe du compte.",
			"Faire de même avec un second compte, et s'écrire de l'un à l'autre.",
		},
		Stop: "Ctrl-C arrête la démonstration ; le même --dir retrouve tout.",
	}
}

// language finds the messages of a language.
func language(name string) (*demoText, error) {
	switch name {
	case "fr":
		return french(), nil
	case "en":
		return english(), nil
	}
	return nil, fmt.Errorf("language %q is not known: fr or en", name)
}

// table writes how to reach the demo.
func (m *demoText) table(out io.Writer, d *demo) error {
	ca := d.file(demoCA)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "%s\n\n%s\t%s\n%s\t%s\n", m.Title, m.Directory, d.dir, m.Authority, ca)
	fmt.Fprintf(w, "%s\t%s\n%s\t%s\n\n", m.WhiteList, d.list.URL(), m.DNS, d.dns.Addr())
	ports := m.doors(w, d.first, d.peer)
	fmt.Fprintf(w, "\n%s\t%s\t%s\t%s\n", m.Account, m.Password, m.Card, m.Code)
	for _, a := range d.accounts() {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", a.Address, a.Password, m.Cards[a.Card], m.Codes[a.OTP])
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print the demo's table: %w", err)
	}
	arguments := [len(m.Steps)][]any{{ca}, {d.first.accounts[0].Address}, ports["imaps"], ports["submissions"], {}}
	fmt.Fprintf(out, "\n"+m.Trying+"\n", d.file(demoCards), d.file(demoOutside))
	fmt.Fprintf(out, "\n%s\n", m.Heading)
	for i, step := range m.Steps {
		fmt.Fprintf(out, " %d. %s\n", i+1, fmt.Sprintf(step, arguments[i]...))
	}
	_, err := fmt.Fprintf(out, "\n%s\n", m.Stop)
	if err != nil {
		return fmt.Errorf("print the demo's table: %w", err)
	}
	return nil
}

// doors writes a line for each door, with a column for each operator. It returns,
// by door, what Steps say of it: the first's port, the second's and whose that is.
func (m *demoText) doors(w io.Writer, first, second *operator) map[string][]any {
	fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", m.Door, first.domain, second.domain, m.Security)
	ports := make(map[string][]any)
	others := second.config.doors()
	for i, d := range first.config.doors() {
		security := "STARTTLS"
		if d.implicit {
			security = "SSL/TLS"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", d.name, d.address, others[i].address, security)
		_, port, _ := strings.Cut(d.address, ":")
		_, other, _ := strings.Cut(others[i].address, ":")
		ports[d.name] = []any{port, other, second.domain}
	}
	return ports
}
