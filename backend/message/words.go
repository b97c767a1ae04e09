package message

import "bytes"

// lowered is b in lower case, in buf when it fits there: what does not fit is no
// name anybody compares with, and comes back as it is.
func lowered(buf *[32]byte, b []byte) []byte {
	if len(b) > len(buf) {
		return b
	}
	for i, c := range b {
		buf[i] = lowerByte(c)
	}
	return buf[:len(b)]
}

// isWord compares with a word in lower case.
func isWord(b []byte, word string) bool {
	if len(b) != len(word) {
		return false
	}
	for i, c := range b {
		if lowerByte(c) != word[i] {
			return false
		}
	}
	return true
}

// lower makes a lower-case string.
func lower(b []byte) string {
	var buf [32]byte
	if len(b) > len(buf) {
		return string(bytes.ToLower(b))
	}
	return intern(lowered(&buf, b))
}

// intern makes a string, without allocating for the words most messages use.
func intern(b []byte) string {
	switch string(b) {
	case "text":
		return "text"
	case "plain":
		return "plain"
	case "html":
		return "html"
	case "multipart":
		return "multipart"
	case "mixed":
		return "mixed"
	case "alternative":
		return "alternative"
	case "related":
		return "related"
	case "application":
		return "application"
	case "octet-stream":
		return "octet-stream"
	case "pdf":
		return "pdf"
	case "image":
		return "image"
	case "jpeg":
		return "jpeg"
	case "png":
		return "png"
	case "message":
		return "message"
	case "rfc822":
		return "rfc822"
	case "utf-8":
		return "utf-8"
	case "UTF-8":
		return "UTF-8"
	case "us-ascii":
		return "us-ascii"
	case "iso-8859-1":
		return "iso-8859-1"
	case "7bit":
		return "7bit"
	case "8bit":
		return "8bit"
	case "base64":
		return "base64"
	case "quoted-printable":
		return "quoted-printable"
	}
	return string(b)
}
