package wire

// Secret reads an astring whose quoted form may hold any octet but CR, LF and
// NUL: there are mail programs that send passwords in Latin-1.
func (d *Decoder) Secret() string {
	if d.Peek() != '"' {
		return d.AString()
	}
	b := d.quotedOctets()
	if d.err != nil {
		return ""
	}
	return string(b)
}
