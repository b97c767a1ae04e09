package notify

import "telesphore/backend/auth"

// french is what mails say in French. Those with a code are written without
// accents, since they are ASCII.
func french() *language {
	return &language{
		tag:     "fr",
		when:    "02/01/2006 15:04 (UTC-07:00)",
		through: "par %s",
		from:    ", depuis l'IP %s",
		office:  "par l'administration du serveur",
		letters: map[auth.Kind]letter{
			auth.LogInCode: {"Code unique pour votre messagerie", `Quelqu'un vient de donner le bon mot de passe de la messagerie

    {account}

Si c'est vous : dans votre logiciel de messagerie, repondez a la fenetre du
mot de passe par votre mot de passe suivi aussitot de ce code, sans espace :

{code}

Avec le mot de passe  pluie-fine  et le code  ABCDEFGH  par exemple, on
taperait

    pluie-fineABCDEFGH

Votre logiciel peut retenir cette reponse. S'il la redemande pour l'envoi,
donnez la meme : un seul code suffit pour lire et pour envoyer.
Le code est valable {minutes} minutes.

Demande faite {where},
le {when}.

Si ce n'est pas vous : quelqu'un connait votre mot de passe. Ne donnez ce code
a personne, changez votre mot de passe maintenant et prevenez votre
administrateur.
`},
			auth.ContactCode: {"Code pour confirmer votre adresse de contact", `Ce message prouve que vous lisez ce qui arrive a cette adresse. Les codes qui
ouvrent la messagerie

    {account}

y seront envoyes quand vous aurez donne ce code la ou il vous est demande :

{code}

Le code est valable {minutes} minutes.

Demande faite {where},
le {when}.

Si ce n'est pas vous : ne donnez ce code a personne et prevenez
l'administrateur de cette messagerie.
`},
			auth.CardLinked: {"Une carte est liée à votre messagerie", `Une carte ouvre désormais votre messagerie.

Messagerie : {account}
Nom sur la carte : {card}
Liée {where},
le {when}.

Si ce n'est pas vous : demandez tout de suite à votre administrateur de
retirer la carte, par

    telesphore card unlink {account}

et changez votre mot de passe.
`},
			auth.CardRenewed: {"Votre carte renouvelée est reconnue", `Une carte qui ouvre votre messagerie s'est présentée avec un nouveau
certificat. Son titulaire est le même ; vous n'avez rien à faire.

Messagerie : {account}
Nom sur la carte : {card}
Utilisée {where},
le {when}.

Si vous n'avez pas renouvelé votre carte : demandez tout de suite à votre
administrateur de la retirer, par

    telesphore card unlink {account}
`},
			auth.CardRemoved: {"Une carte est retirée de votre messagerie", `Une carte n'ouvre plus votre messagerie. Ce qu'elle avait ouvert est fermé.

Messagerie : {account}
Nom sur la carte : {card}
Retirée {where},
le {when}.

Si vous ne l'avez pas demandé : prévenez votre administrateur.
`},
			auth.CardMismatch: {"Une carte qui n'est pas la vôtre a été refusée", `Quelqu'un a donné le bon mot de passe de votre messagerie avec une carte qui
n'est pas celle attendue. La carte a été refusée.

Messagerie : {account}
Nom sur la carte : {card}
Essai fait {where},
le {when}.

Si c'est vous, avec une nouvelle carte : demandez à votre administrateur d'en
permettre la liaison. Si ce n'est pas vous : quelqu'un connaît votre mot de
passe. Changez-le maintenant et prévenez votre administrateur.
`},
			auth.NewNetwork: {"Votre messagerie a été ouverte d'un nouvel endroit", `Quelqu'un a ouvert votre messagerie depuis un réseau d'où personne ne l'avait
fait avant.

Messagerie : {account}
Ouverte {where},
le {when}.

Si c'est vous, vous n'avez rien à faire. Si ce n'est pas vous : changez votre
mot de passe maintenant et prévenez votre administrateur.
`},
			auth.CodesOn: {"Les codes uniques sont activés", `Désormais votre mot de passe seul n'ouvre plus votre messagerie : un code
unique est aussi demandé. Il arrive par courriel à votre adresse de contact,
ou vient de votre programme d'authentification si vous en avez choisi un.

Messagerie : {account}
Activés {where},
le {when}.

Si vous ne l'avez pas demandé : prévenez tout de suite votre administrateur.
`},
			auth.CodesOff: {"Les codes uniques sont désactivés", `Désormais aucun code unique n'est demandé pour ouvrir votre messagerie.

Messagerie : {account}
Désactivés {where},
le {when}.

Si vous ne l'avez pas demandé : prévenez tout de suite votre administrateur et
changez votre mot de passe.
`},
			auth.AppPasswordMade: {"Un mot de passe d'application a été créé", `Un nouveau mot de passe d'application ouvre votre messagerie, sans carte ni
code.

Messagerie : {account}
Nom du mot de passe : {name}
Créé {where},
le {when}.

Si ce n'est pas vous : demandez tout de suite à votre administrateur de le
supprimer et changez votre mot de passe.
`},
			auth.AppPasswordRemoved: {"Un mot de passe d'application a été supprimé", `Un mot de passe d'application n'ouvre plus votre messagerie. Ce qu'il avait
ouvert est fermé.

Messagerie : {account}
Nom du mot de passe : {name}
Supprimé {where},
le {when}.

Si vous ne l'avez pas demandé : prévenez votre administrateur.
`},
		},
	}
}
