package xdm

import (
	"archive/zip"
	"bytes"
	"errors"
	"io"
	"path"
	"path/filepath"
	"strings"
)

var errTooLarge = errors.New("larger than the limit")

// zip reads an archive. One that is not named IHE_XDM.zip is of no interest unless it is one inside
// (IHE XDM has a folder IHE_XDM, and METADATA.XML in its subfolders).
func (in *inspection) zip(octets []byte, named bool) {
	in.archive = in.archive || named
	problem := func(phrase string) {
		if named {
			in.warn(phrase)
			in.unread = true
		}
	}
	// Every file has this mark in the directory, so reading the directory cannot cost more.
	if bytes.Count(octets, []byte("PK\x01\x02")) > in.limits.Files {
		problem(tooManyFiles)
		return
	}
	r, err := zip.NewReader(bytes.NewReader(octets), int64(len(octets)))
	if err != nil {
		problem(unreadable)
		return
	}
	if named = named || isXDM(r.File); !named {
		return
	}
	in.archive = true
	if unpacked(r.File) > uint64(in.limits.Archive) {
		problem(tooLarge)
		return
	}
	in.files(r.File)
}

// isXDM tells the layout of IHE XDM.
func isXDM(files []*zip.File) bool {
	for _, f := range files {
		if strings.HasPrefix(strings.ToUpper(f.Name), "IHE_XDM/") || isMetadata(f.Name) {
			return true
		}
	}
	return false
}

func isMetadata(name string) bool { return strings.EqualFold(path.Base(name), "METADATA.XML") }

// unpacked is what the directory says of the size of all files.
func unpacked(files []*zip.File) uint64 {
	total := uint64(0)
	for _, f := range files {
		if total += f.UncompressedSize64; total < f.UncompressedSize64 || total > 1<<62 {
			return 1 << 63
		}
	}
	return total
}

// files reads what XML files there are.
func (in *inspection) files(files []*zip.File) {
	left := &budget{octets: in.limits.Archive, pieces: maxPieces} // whatever the directory says
	seen := make(map[string]bool, len(files))
	metadata := false
	for _, f := range files {
		name := strings.ToUpper(f.Name)
		switch {
		case strings.Contains(f.Name, `\`) || !filepath.IsLocal(f.Name):
			in.warn(unsafeName)
		case seen[name]:
			in.warn(sameName)
			in.unread = true // others may read the other one
		}
		seen[name] = true
		if f.Flags&1 != 0 {
			in.warn(encrypted)
			in.unread = true
			continue
		}
		if !strings.HasSuffix(name, ".XML") {
			continue
		}
		isMeta := isMetadata(f.Name)
		metadata = metadata || isMeta
		if err := in.file(f, isMeta, left); err != nil {
			in.unread = true
			switch {
			case errors.Is(err, errTooLarge):
				in.warn(tooLarge)
			case isMeta:
				in.warn(badMetadata)
			default:
				in.warn(badDocument)
			}
		}
	}
	if !metadata {
		in.warn(noMetadata)
	}
}

// file reads METADATA.XML, or a file that may be a CDA document.
func (in *inspection) file(f *zip.File, isMeta bool, left *budget) error {
	file, err := f.Open()
	if err != nil {
		return err
	}
	defer file.Close()
	r := &limited{r: file, file: in.limits.File, left: left}
	if isMeta {
		return in.metadata.read(r)
	}
	d, err := readDocument(r)
	if err == nil && d != nil {
		in.documents = append(in.documents, *d)
	}
	return err
}

// budget is what of an archive may still be read. Octets alone do not bound the work: the XML that packs best
// is made of nothing but tags.
type budget struct {
	octets int64
	pieces int // tags, attributes, texts
}

// limited reads no more octets than a piece of XML, a file and an archive may have.
type limited struct {
	r     io.Reader
	piece int64
	file  int64
	left  *budget
}

func (l *limited) Read(b []byte) (int, error) {
	n, err := l.r.Read(b)
	l.piece += int64(n)
	l.file -= int64(n)
	l.left.octets -= int64(n)
	if l.piece > maxPiece || l.file < 0 || l.left.octets < 0 {
		return 0, errTooLarge
	}
	return n, err
}

// next counts so many pieces, and begins one.
func (l *limited) next(pieces int) error {
	l.piece = 0
	if l.left.pieces -= pieces; l.left.pieces < 0 {
		return errTooLarge
	}
	return nil
}
