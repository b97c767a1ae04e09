package notify

import "telesphore/backend/auth"

// english is what mails say in English. Those with a code are ASCII, and their
// words hold no long run of digits.
func english() *language {
	return &language{
		tag:     "en",
		when:    "2 January 2006 at 15:04 (UTC-07:00)",
		through: "through %s",
		from:    ", from IP %s",
		office:  "by the administration of the server",
		letters: map[auth.Kind]letter{
			auth.LogInCode: {"One-time code for your mailbox", `Somebody has just given the right password of the mailbox

    {account}

If it was you: in your mail program, answer the password window with your
password followed at once by this code, without a space:

{code}

With the password  spring-rain  and the code  ABCDEFGH  for example, you would
type

    spring-rainABCDEFGH

Your mail program may remember this answer. Where it asks again for sending,
give the same answer: one code is enough for reading and sending.
The code is good for {minutes} minutes.

Asked for {where},
on {when}.

If it was not you: somebody knows your password. Give this code to nobody,
change your password now, and tell your administrator.
`},
			auth.ContactCode: {"Code to confirm your contact address", `This mail proves that you read what is sent to this address. Codes to open
the mailbox

    {account}

will be sent here once you have given this code where you were asked for it:

{code}

The code is good for {minutes} minutes.

Asked for {where},
on {when}.

If it was not you: give this code to nobody, and tell the administrator
of that mailbox.
`},
			auth.CardLinked: {"A card was linked to your mailbox", `A card opens your mailbox from now on.

Mailbox: {account}
Name on the card: {card}
Linked {where},
on {when}.

If it was not you: ask your administrator at once to remove the card, with

    telesphore card unlink {account}

and change your password.
`},
			auth.CardRenewed: {"Your renewed card was recognised", `A card that opens your mailbox came with a new certificate. It is the same
card holder; there is nothing to do.

Mailbox: {account}
Name on the card: {card}
Used {where},
on {when}.

If you have not renewed your card: ask your administrator at once to remove
it, with

    telesphore card unlink {account}
`},
			auth.CardRemoved: {"A card was removed from your mailbox", `A card opens your mailbox no more. What was opened with it is closed.

Mailbox: {account}
Name on the card: {card}
Removed {where},
on {when}.

If you did not ask for it: tell your administrator.
`},
			auth.CardMismatch: {"A card that is not yours was refused", `Somebody gave the right password of your mailbox together with a card that
is not the one expected for it. The card was refused.

Mailbox: {account}
Name on the card: {card}
Tried {where},
on {when}.

If it was you, with a new card: ask your administrator to let it be linked.
If it was not you: somebody knows your password. Change it now, and tell your
administrator.
`},
			auth.NewNetwork: {"Your mailbox was opened from a new place", `Somebody opened your mailbox from a network where nobody has before.

Mailbox: {account}
Opened {where},
on {when}.

If it was you, there is nothing to do. If it was not you: change your password
now, and tell your administrator.
`},
			auth.CodesOn: {"One-time codes are switched on", `From now on your password alone does not open your mailbox: a one-time code
is asked for too. It comes by mail to your contact address, or from your
authenticator program if you chose one.

Mailbox: {account}
Switched on {where},
on {when}.

If you did not ask for it: tell your administrator at once.
`},
			auth.CodesOff: {"One-time codes are switched off", `From now on no one-time code is asked for to open your mailbox.

Mailbox: {account}
Switched off {where},
on {when}.

If you did not ask for it: tell your administrator at once, and change your
password.
`},
			auth.AppPasswordMade: {"An application password was made", `A new application password opens your mailbox, without card or code.

Mailbox: {account}
Name of the password: {name}
Made {where},
on {when}.

If it was not you: ask your administrator at once to remove it, and change
your password.
`},
			auth.AppPasswordRemoved: {"An application password was removed", `An application password opens your mailbox no more. What was opened with it
is closed.

Mailbox: {account}
Name of the password: {name}
Removed {where},
on {when}.

If you did not ask for it: tell your administrator.
`},
		},
	}
}
