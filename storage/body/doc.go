// Package body keeps the octets of messages in append-only segment files.
//
// A body has an identity (a 64-bit [ID], never reused), a content key of its
// own and one record in one segment. [Seal] compresses, encrypts and checks it
// in the caller's goroutine; [Log.Stage] gives it a place in memory; [Log.Flush]
// makes everything staged durable with one fdatasync. Nothing in a segment is
// ever changed: compaction copies records ([Log.Relocate]) and removes whole
// segments ([Log.Remove]). Who refers to a body is the index's business: no
// mailbox and no UID appears here in clear.
//
// One process opens a directory at a time; the lock of the index guards that.
//
// # Format, version 1
//
// Numbers are little-endian; a CRC is CRC-32C (Castagnoli). A segment is a
// file named by its number in ten decimal digits with the suffix ".seg". It
// holds a segment header followed by records without gaps, each beginning at
// a multiple of 8.
//
// Segment header, 48 octets:
//
//	 0  8  "TELESEGM"
//	 8  2  version, 1
//	10  2  shard
//	12  4  number of this segment
//	16  8  date of creation, microseconds since 1970 UTC
//	24  4  number of the segment before this one, 0 when there was none
//	28  4  zero
//	32  8  offset up to which that segment was known to be on disk
//	40  4  zero
//	44  4  CRC of octets 0 to 43
//
// Record header, 80 octets:
//
//	 0  4  "TREC"
//	 4  1  version, 1
//	 5  1  type: 1 body, 2 body copied by compaction, 3 batch mark
//	 6  1  codec of the chunks: 0 raw, 1 zstd (RFC 8878)
//	 7  1  zero
//	 8  8  body id; in a batch mark the offset where its batch begins
//	16  8  date, microseconds since 1970 UTC; in a batch mark zero
//	24  4  key epoch of the caller; in a batch mark zero
//	28  4  number of this segment
//	32  8  offset of this record in the segment
//	40  8  P, length of the payload
//	48  8  length of the plain body; in a batch mark the number of records
//	56  4  H, length of the head
//	60  4  M, stored length of the metadata, 0 when there is none
//	64  4  C, number of chunks
//	68  4  CRC of the head
//	72  4  CRC of the payload
//	76  4  CRC of octets 0 to 75
//
// The header repeats its own position, so a stale or misplaced record is never
// taken for a good one, and a search behind damage finds true records only.
// After it come:
//
//	P  payload: C stored chunk lengths of 4 octets, M octets of metadata, the chunks
//	H  head: the accept record, sealed by the caller, opaque here
//	   zeros up to the next multiple of 8
//
// A batch mark has P = H = 0. It closes what one Flush wrote to the segment;
// whatever stands before the beginning of its batch was on disk before it was
// written.
//
// The plain body is cut into chunks of 65,536 octets, the last one shorter; an
// empty body is one empty chunk. Each chunk and the metadata are sealed with
// AES-256-GCM under the content key, so a stored length is the plain or
// compressed length plus 16. In a zstd record a chunk whose stored length is
// its plain length plus 16 was left raw; any other is shorter and one zstd
// frame. Nonce, 12 octets:
//
//	 0  1  field: 1 metadata, 2 body
//	 1  6  zero
//	 7  4  number of the chunk, from 0; 0 for metadata
//	11  1  1 for the last chunk and for metadata, else 0
//
// Associated data, 24 octets:
//
//	 0  1  version, 1
//	 1  1  field, as in the nonce
//	 2  1  codec
//	 3  5  zero
//	 8  8  body id
//	16  8  length of the plain body
//
// The nonce is a counter because a content key seals one body once: a key is
// drawn at random for each call of Seal and never used for another.
package body
