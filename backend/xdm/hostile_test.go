package xdm

import (
	"archive/zip"
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// What cannot be read, or should not be, is a warning, and nothing is computed of the rest.
func TestHostileArchives(t *testing.T) {
	good := cda("34112-3", oid, nir)
	m := file{"IHE_XDM/A/METADATA.XML", meta(nir, "34112-3")}
	replaced := func(old, new string) string { return strings.Replace(good, old, new, 1) }
	many := []file{m}
	for i := range 50 {
		many = append(many, file{fmt.Sprintf("IHE_XDM/A/%d.xml", i), good})
	}
	encryptedZip := archive(t, m, file{"IHE_XDM/A/1.xml", good})
	encryptedZip[bytes.LastIndex(encryptedZip, []byte("PK\x01\x02"))+8] |= 1
	damaged := archive(t, m, file{"IHE_XDM/A/1.xml", good})
	damaged[bytes.LastIndex(damaged, []byte("PK\x03\x04"))+60] ^= 0xff
	nested := archive(t, m, file{"IHE_XDM/A/inner.zip", string(archive(t, file{"1.xml", good}))})
	for what, c := range map[string]struct {
		content []byte
		limits  Limits
		want    []string
	}{
		"no archive":               {[]byte("no"), Limits{}, []string{unreadable}},
		"half of one":              {archive(t, standard()...)[:300], Limits{}, []string{unreadable}},
		"a bomb":                   {archive(t, m, file{"IHE_XDM/A/1.xml", strings.Repeat(" ", 2<<20) + good}), Limits{Archive: 1 << 20}, []string{tooLarge}},
		"a large document":         {archive(t, m, file{"IHE_XDM/A/1.xml", strings.Repeat(" ", 2<<20) + good}), Limits{File: 1 << 20}, []string{tooLarge}},
		"a large METADATA.XML":     {archive(t, file{m.name, "<a>" + strings.Repeat(" ", 2<<20) + "</a>"}), Limits{File: 1 << 20}, []string{tooLarge}},
		"a bomb that tells lies":   {lying(t, file{"IHE_XDM/A/1.xml", strings.Repeat(" ", 2<<20) + good}), Limits{Archive: 1 << 20}, []string{badDocument, noMetadata}},
		"nothing but tags":         {archive(t, file{m.name, "<r>" + strings.Repeat("<a/>", maxPieces/2) + "</r>"}), Limits{}, []string{tooLarge}},
		"nothing but attributes":   {archive(t, file{m.name, "<r>" + strings.Repeat("<a b='' c='' d='' e='' f='' g='' h=''/>", maxPieces/8) + "</r>"}), Limits{}, []string{tooLarge}},
		"one tag":                  {archive(t, file{m.name, "<r " + strings.Repeat("a='' ", maxPiece/5+1000) + "/>"}), Limits{}, []string{tooLarge}},
		"many files":               {archive(t, many...), Limits{Files: 50}, []string{tooManyFiles}},
		"an encrypted document":    {encryptedZip, Limits{}, []string{encrypted}},
		"a damaged document":       {damaged, Limits{}, []string{badDocument}},
		"an archive inside":        {nested, Limits{}, nil},
		"two files of one name":    {archive(t, m, file{"1.xml", good}, file{"1.XML", cda("11502-2", oid, nir)}), Limits{}, []string{sameName}},
		"a DTD":                    {archive(t, m, file{"1.xml", replaced("<ClinicalDocument", `<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><ClinicalDocument`)}), Limits{}, []string{badDocument}},
		"an entity":                {archive(t, m, file{"1.xml", replaced("PATIENT", "&e;")}), Limits{}, []string{badDocument}},
		"a DTD in METADATA.XML":    {archive(t, file{m.name, "<!DOCTYPE x>" + m.content[38:]}, file{"1.xml", good}), Limits{}, []string{badMetadata}},
		"deep elements":            {archive(t, m, file{"1.xml", replaced("<typeId", strings.Repeat("<a>", 1000)+"<typeId")}), Limits{}, []string{badDocument}},
		"a charset of its own":     {archive(t, m, file{"1.xml", replaced("UTF-8", "x-evil")}), Limits{}, []string{badDocument}},
		"an empty document":        {archive(t, m, file{"1.xml", ""}), Limits{}, []string{badDocument}},
		"a document that is cut":   {archive(t, m, file{"1.xml", good[:400]}), Limits{}, []string{badDocument}},
		"METADATA.XML that is cut": {archive(t, file{m.name, m.content[:200]}, file{"1.xml", good}), Limits{}, []string{badMetadata}},
	} {
		t.Run(what, func(t *testing.T) {
			same(t, Inspect(with(c.content, zipped, nil0), c.limits), true, "", c.want...)
		})
	}
	t.Run("unsafe names", func(t *testing.T) {
		for _, name := range []string{"../1.xml", "/etc/1.xml", `IHE_XDM\A\1.xml`, "a/../../1.xml"} {
			got := Inspect(with(archive(t, m, file{name, good}), zipped, nil0+both), Limits{})
			same(t, got, true, "", unsafeName)
		}
	})
	t.Run("many archives", func(t *testing.T) {
		one := string(with(archive(t, standard()...), zipped, nil0))
		head, part, _ := strings.Cut(one, "--b\r\nContent-Type: application")
		part = strings.TrimSuffix(part, "--b--\r\n")
		got := Inspect([]byte(head+strings.Repeat("--b\r\nContent-Type: application"+part, maxArchives+1)+"--b--\r\n"), Limits{})
		same(t, got, true, "", tooManyArchives)
	})
}

// A large archive is no hostile one.
func TestLargeArchives(t *testing.T) {
	types := make([]string, 300)
	files := []file{{}}
	for i := range types {
		types[i] = "34112-3"
		files = append(files, file{fmt.Sprint("IHE_XDM/A/", i, ".xml"), cda("34112-3", oid, nir)}, file{fmt.Sprint("IHE_XDM/A/", i, ".pdf"), "%PDF"})
	}
	files[0] = file{"IHE_XDM/A/METADATA.XML", meta(nir, types...)}
	same(t, Inspect(with(archive(t, files...), zipped, nil0), Limits{}), true, both, noCodes, noINS)
}

// lying is an archive whose directory says that its files have one octet.
func lying(t *testing.T, files ...file) []byte {
	t.Helper()
	b := archive(t, files...)
	for at := 0; ; {
		i := bytes.Index(b[at:], []byte("PK\x01\x02"))
		if i < 0 {
			return b
		}
		at += i + 4
		copy(b[at+20:], "\x01\x00\x00\x00") // the size, 24 octets into the entry
	}
}

// Codes come from strangers: none gets out of its field.
func TestCodesThatAreNone(t *testing.T) {
	for _, code := range []string{"", "a b", "34112-3&#13;&#10;Bcc: x@y.test", "34112-3,1", "é", strings.Repeat("1", 21), "a&#0;b", "a:b"} {
		content := archive(t, file{"METADATA.XML", meta(nir, "34112-3")}, file{"1.xml", cda("34112-3", oid, nir)}, file{"2.xml", cda(code, oid, nir)})
		got := Inspect(with(content, zipped, nil0+"X-MSS-INS: O\r\n"), Limits{})
		if len(got.Fields) != 0 || len(got.Warnings) != 1 || got.Warnings[0] != noCode && got.Warnings[0] != badDocument {
			t.Errorf("%q: %q %q", code, got.Fields, got.Warnings)
		}
	}
	files := []file{}
	for i := range 41 {
		files = append(files, file{fmt.Sprint(i, ".xml"), cda(fmt.Sprint(i), oid, nir)})
	}
	got := Inspect(with(archive(t, files...), zipped, nil0+"X-MSS-INS: O\r\n"), Limits{})
	same(t, got, true, "", noMetadata, tooManyCodes)
	got = Inspect(with(archive(t, files[1:]...), zipped, nil0+"X-MSS-INS: O\r\n"), Limits{})
	if len(got.Fields) == 0 || len(got.Fields) > 998 || bytes.Count(got.Fields, []byte(",")) != 39 {
		t.Errorf("%q", got.Fields)
	}
}

// Warnings are phrases of ours, whatever is in the archive.
func TestWarningsTellNothingOfThePatient(t *testing.T) {
	content := archive(t, file{"PATIENT/../../RUTH.xml", "<PATIENT"}, file{"METADATA.XML", "<RUTH" + nir}, file{"1.xml", cda("PATIENT RUTH", oid, nir)})
	got := Inspect(with(content, zipped, "X-MSS-INS: PATIENT\r\n"), Limits{})
	all := strings.Join(got.Warnings, "\n")
	if len(got.Warnings) < 3 || strings.Contains(all, "PATIENT") || strings.Contains(all, "RUTH") || strings.Contains(all, nir) {
		t.Errorf("%q", got.Warnings)
	}
}

func FuzzInspect(f *testing.F) {
	good := cda("34112-3", oid, nir)
	f.Add(with(archive(f, standard()...), zipped, nil0), []byte(good), []byte(meta(nir, "34112-3")))
	f.Add([]byte(both+"Content-Type: application/zip\r\n\r\nPK\x05\x06"), []byte("<!DOCTYPE x>"), []byte("<ExtrinsicObject>"))
	f.Add([]byte("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Disposition: a; filename*0*=IHE%5F.zip"), []byte("<a"), []byte{})
	stored := func(t *testing.T, name string, content []byte, w *zip.Writer) {
		e, err := w.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	f.Fuzz(func(t *testing.T, octets, document, metadata []byte) {
		checkFinding(t, Inspect(octets, Limits{}))
		var b bytes.Buffer
		w := zip.NewWriter(&b)
		stored(t, "METADATA.XML", metadata, w)
		stored(t, "1.xml", document, w)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		got := Inspect(with(b.Bytes(), zipped, ""), Limits{})
		if !got.Archive {
			t.Error("no archive")
		}
		checkFinding(t, got)
		got = Inspect(with(octets, zipped, ""), Limits{File: 1 << 20, Archive: 4 << 20, Files: 10})
		checkFinding(t, got)
	})
}

// checkFinding checks that fields are fields of ours.
func checkFinding(t *testing.T, f Finding) {
	t.Helper()
	for l := range strings.SplitAfterSeq(string(f.Fields), "\r\n") {
		name, value, _ := strings.Cut(strings.TrimSuffix(l, "\r\n"), ": ")
		switch {
		case l == "":
		case !strings.HasSuffix(l, "\r\n") || len(l) > 998:
			t.Errorf("%q", l)
		case name == fieldINS && (value == "O" || value == "N"):
		case name == fieldCodes && value != "":
			for code := range strings.SplitSeq(value, ",") {
				if !validCode(code) {
					t.Errorf("%q", l)
				}
			}
		default:
			t.Errorf("%q", l)
		}
	}
}

// Most mail has no archive. Nothing of it is decoded.
func BenchmarkInspectWithoutArchive(b *testing.B) {
	for _, size := range []int{10 << 10, 10 << 20} {
		content := make([]byte, size*3/4)
		for i := range content {
			content[i] = byte(i * i >> 3)
		}
		message := with(content, "Content-Type: application/pdf; name=lettre.pdf\r\n", nil0)
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			b.SetBytes(int64(len(message)))
			b.ReportAllocs()
			for b.Loop() {
				if f := Inspect(message, Limits{}); f.Archive {
					b.Fatal("an archive")
				}
			}
		})
	}
}

func BenchmarkInspectArchive(b *testing.B) {
	message := with(archive(b, standard()...), zipped, nil0)
	b.SetBytes(int64(len(message)))
	b.ReportAllocs()
	for b.Loop() {
		if f := Inspect(message, Limits{}); !f.Archive {
			b.Fatal("no archive")
		}
	}
}
