// Package keyring holds the keys that make an account's mail readable.
//
// Each account has one random key of 32 octets; one more, the log key, seals
// accept records with queued deliveries. All of them lie in one file, wrapped by a
// master key that comes from elsewhere ([Master]). Master keys are numbered by
// epochs. Erasing an account ([Ring.Erase]) writes the other keys anew under the
// next epoch, then destroys the epoch before: after that no copy of the file,
// however old, gives the erased key back.
//
// The keyring and the master key stay out of ordinary backups: keep them on
// their own, and keep the keyring's newest copy only. The list of erasures is a
// second file; a restore never replaces it by an older one, and Open applies it
// before anything is served.
//
// # Keyring file, version 1
//
// Numbers are little-endian. The file is replaced as a whole: written beside,
// synced, renamed.
//
//	 0  8  "TELEKEYS"
//	 8  2  version, 1
//	10  2  zero
//	12  4  epoch of the master key that wraps every key here
//	16  4  number of account keys, n
//	20  4  zero
//	24  8  date of writing, microseconds since 1970 UTC
//	32     1+n entries of 64 octets: the log key, then the accounts in
//	       ascending order
//	   12  nonce, random
//	   16  AES-256-GCM tag under the master key over no plain text, with all
//	       octets before the nonce as associated data
//	    4  CRC-32C (Castagnoli) of all octets before
//
// Entry:
//
//	 0  4  account id; zero for the log key
//	 4 12  nonce, random
//	16 48  the key under AES-256-GCM with the master key
//
// Its associated data, 24 octets:
//
//	 0  8  "TELEKEYS"
//	 8  2  version, 1
//	10  2  1 log key, 2 account key
//	12  4  epoch
//	16  4  account id; zero for the log key
//	20  4  zero
//
// The CRC tells damage from a wrong master key; the seal shows that no entry was
// taken out.
//
// # Master file
//
// ASCII lines, so that it can be kept on paper. The first is
// "telesphore-master 1"; each other is an epoch in decimal, a space, and 64
// hexadecimal digits. A command that stands for the file prints the same.
//
// # Erasure list
//
// The keyring's name with ".erased" added. ASCII lines: "telesphore-erased 1",
// then for each erasure the account id in decimal, a space, the date as in RFC
// 3339. Lists may be joined line by line.
//
// # Values
//
// [Account.Seal] gives a random nonce, the ciphertext and a tag of 16 octets:
// AES-256-GCM with a nonce of 12 octets under an account's key, good for 2^32
// values. The log key seals more than that in its life, so it uses
// XAES-256-GCM (C2SP) with a nonce of 24 octets. [Account.MAC] is HMAC-SHA-256 cut
// to 16 octets; its key is HMAC-SHA-256 of the account's key over
// "telesphore mac 1", its message two octets with the label's length, the
// label, the data.
package keyring
