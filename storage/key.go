package storage

import "encoding/binary"

// The index is one ordered key space. A key is a table letter, then
// big-endian fields, so that what is read together lies together:
//
//	a address                  account            addresses
//	b body                     bodyRef            where a body lies, how many objects use it
//	c account                  counters
//	d account link card        sealed card        what identifies a card stands as an HMAC with the log's key
//	e card link                account            the accounts that a card opens
//	f account kind             sealed record      those of which an account has one: see sealed.go
//	g account grant            sealed grant
//	h account mailbox page     hot page           flags and ModSeqs of 128 UIDs
//	i account                  account record
//	j address                  alias record
//	k account mailbox          sealed keyword names
//	l account table            last number that the account gave out in a table
//	m account mailbox          mailbox record
//	n account MAC(name)        mailbox            names are found by HMAC, see keyring
//	o account object           object
//	p account mailbox page     date page          sizes and dates of 128 UIDs
//	q account job part         objects a large copy has counted already
//	r account number           reap entry
//	s segment                  dead octets of a body segment
//	t account MAC(Message-ID)  thread entry
//	u account MAC(name)        sealed subscribed name
//	v account mailbox modseq   vanished UID ranges of one change
//	w account number           sealed application password
//	x name                     what the store says of itself: format, boot, watermark, last account, last link
//	y account trace part       sealed part of what became of a message that the account sent; the newest trace first
//	z account MAC(name)        traces of messages that have the name or the Message-ID
//	A queued                   sealed message of the queue; it has the number of its body
//	B queued number            sealed delivery of it
//	C account day              how much the account has sent; the newest day first
//	D account MAC(address)     when the account last wrote there
const (
	tabAddress   = 'a'
	tabBody      = 'b'
	tabCounters  = 'c'
	tabCard      = 'd'
	tabIdentity  = 'e'
	tabOne       = 'f'
	tabGrant     = 'g'
	tabHot       = 'h'
	tabAccount   = 'i'
	tabAlias     = 'j'
	tabKeywords  = 'k'
	tabLast      = 'l'
	tabMailbox   = 'm'
	tabName      = 'n'
	tabObject    = 'o'
	tabDates     = 'p'
	tabCopying   = 'q'
	tabReap      = 'r'
	tabSegment   = 's'
	tabThread    = 't'
	tabSubscribe = 'u'
	tabVanished  = 'v'
	tabPassword  = 'w'
	tabStore     = 'x'
	tabTrace     = 'y'
	tabTraceName = 'z'
	tabQueued    = 'A'
	tabDelivery  = 'B'
	tabSent      = 'C'
	tabWritten   = 'D'
)

// accountTables are the tables whose keys begin with an account.
var accountTables = []byte{
	tabCounters, tabCard, tabOne, tabGrant, tabHot, tabAccount, tabKeywords, tabLast, tabMailbox, tabName, tabObject,
	tabDates, tabCopying, tabReap, tabThread, tabSubscribe, tabVanished, tabPassword,
	tabTrace, tabTraceName, tabSent, tabWritten,
}

func keyAccount(table byte, a AccountID) []byte {
	return binary.BigEndian.AppendUint32([]byte{table}, uint32(a))
}

func key64(table byte, a AccountID, n uint64) []byte {
	return binary.BigEndian.AppendUint64(keyAccount(table, a), n)
}

func keyMAC(table byte, a AccountID, mac [16]byte) []byte {
	return append(keyAccount(table, a), mac[:]...)
}

func keyMailbox(table byte, a AccountID, m MailboxID) []byte { return key64(table, a, uint64(m)) }

func keyPage(table byte, a AccountID, m MailboxID, page uint32) []byte {
	return binary.BigEndian.AppendUint32(keyMailbox(table, a, m), page)
}

func keyVanished(a AccountID, m MailboxID, at ModSeq) []byte {
	return binary.BigEndian.AppendUint64(keyMailbox(tabVanished, a, m), uint64(at))
}

func keyCard(a AccountID, link uint64, card [16]byte) []byte {
	return append(key64(tabCard, a, link), card[:]...)
}

func keyIdentity(card [16]byte, link uint64) []byte {
	return binary.BigEndian.AppendUint64(append([]byte{tabIdentity}, card[:]...), link)
}

func keyOne(a AccountID, kind byte) []byte { return append(keyAccount(tabOne, a), kind) }

func keyBody(id uint64) []byte { return binary.BigEndian.AppendUint64([]byte{tabBody}, id) }

func keySegment(n uint32) []byte { return binary.BigEndian.AppendUint32([]byte{tabSegment}, n) }

func keyQueued(table byte, id QueueID) []byte {
	return binary.BigEndian.AppendUint64([]byte{table}, uint64(id))
}

func keyDelivery(id QueueID, number uint16) []byte {
	return binary.BigEndian.AppendUint16(keyQueued(tabDelivery, id), number)
}

func keyStore(name string) []byte { return append([]byte{tabStore}, name...) }

func keyAddress(address string) []byte { return append([]byte{tabAddress}, address...) }

// after returns the first key behind all that begin with prefix.
func after(prefix []byte) []byte {
	hi := append([]byte(nil), prefix...)
	for i := len(hi) - 1; i >= 0; i-- {
		if hi[i]++; hi[i] != 0 {
			return hi[:i+1]
		}
	}
	return nil
}
