// Package wire reads what IMAP clients send, token by token.
//
// A [Decoder] keeps the first error it meets: after it every method returns
// zero values, so a command's grammar reads straight and is checked once, by
// End. What was refused is read away with Discard, the octets of announced
// literals included, so that no part of it is ever taken for a command. Every
// length, count and depth has a bound in [Limits].
//
// An [Encoder] gathers replies in memory and never writes to the network.
package wire
