package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// arrows says which of our packages each of our packages may import: draw an
// arrow here before writing an import. See docs/design.md.
func arrows() map[string][]string {
	door := []string{"backend", "backend/auth", "backend/message", "storage", "tls"}
	return map[string][]string{
		"backend/imapd":  append([]string{"backend/imapd/wire"}, door...),
		"backend/smtpd":  append([]string{"backend/origin", "backend/scan", "backend/xdm"}, door...),
		"backend/admind": append([]string{"backend/queue"}, door...),

		"backend/imapd/wire": {},
		"backend/auth":       {"backend", "storage", "tls"},
		"backend":            {"backend/message", "backend/report", "backend/xdm", "storage"},
		"backend/message":    {},
		"backend/report":     {"backend/message", "storage"},
		"backend/xdm":        {"backend/message"},
		"backend/notify":     {"backend", "backend/auth", "storage"},
		"backend/queue":      {"backend", "backend/report", "storage"},
		"backend/relay":      {"backend", "storage", "tls"},
		"backend/dkim":       {"backend", "backend/message"},
		"backend/origin":     {"backend", "backend/message"},
		"backend/scan":       {},

		"storage":        {"storage/kv", "storage/body", "storage/keyring"},
		"storage/bolt":   {"storage/kv"},
		"storage/kvtest": {"storage/kv"},
		// For tests: a real store over the real engine.
		"storage/storagetest": {"storage", "storage/body", "storage/bolt", "storage/keyring", "storage/kv"},
		"storage/kv":          {},
		"storage/body":        {},
		"storage/keyring":     {},

		"tls":         {},
		"tls/tlstest": {"tls"},
	}
}

// owners are the only packages that may import what they own.
func owners() map[string]string {
	return map[string]string{
		"crypto/tls":       "tls",
		"go.etcd.io/bbolt": "storage/bolt",
	}
}

const wiring = "cmd/telesphore" // joins everything, so it may import everything

func TestArrows(t *testing.T) {
	const module = "telesphore/"
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && strings.HasPrefix(entry.Name(), ".") && path != root {
			return fs.SkipDir
		}
		if filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		from := filepath.ToSlash(dir)
		allowed, known := arrows()[from]
		if !known && from != wiring {
			t.Errorf("%s: draw its arrows first", from)
		}
		for _, spec := range file.Imports {
			to, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if owner := owners()[to]; owner != "" && owner != from {
				t.Errorf("%s imports %s: only %s may", path, to, owner)
			}
			ours, ok := strings.CutPrefix(to, module)
			if ok && from != wiring && !slices.Contains(allowed, ours) {
				t.Errorf("%s imports %s: no such arrow", path, to)
			}
		}
		for _, decl := range file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s has an init function: wire it in run.go", path)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
