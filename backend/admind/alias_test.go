package admind_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"telesphore/backend"
	"telesphore/backend/admind"
	"telesphore/storage"
)

func TestLifeOfAnAlias(t *testing.T) {
	limits := admind.DefaultLimits()
	limits.Page = 1
	_, at := start(t, filepath.Join(t.TempDir(), "admin.sock"), limits)
	dialogue(t, at,
		[2]string{`{"op":"account.add","address":"medecin@hopital.test"}`, `{"account":…}`},
		[2]string{`{"op":"account.add","address":"labo@hopital.test"}`, `{"account":…}`},
		[2]string{`{"op":"alias.list"}`, `{}`},
		[2]string{`{"op":"alias.add","address":"Cardio@Hopital.test","name":"Cardiologie","alias":{"add":["MEDECIN@hopital.test","labo@hopital.test","medecin@hopital.test"]}}`,
			`{"alias":{"address":"cardio@hopital.test","name":"Cardiologie","state":"active","from":"everyone","count":2,` +
				`"members":[{"address":"medecin@hopital.test","is":"account"},{"address":"labo@hopital.test","is":"account"}],"created":"…Z","changed":"…Z"}}`},
		[2]string{`{"op":"alias.add","address":"tous@hopital.test","alias":{"add":["cardio@hopital.test"],"from":"members"}}`,
			`{"alias":{…"from":"members","count":1,"members":[{"address":"cardio@hopital.test","is":"alias"}],…}}`},
		[2]string{`{"op":"alias.list"}`, `{"aliases":[{"address":"cardio@hopital.test",…"count":2,"created":…}],"more":true}`},
		[2]string{`{"op":"alias.list","address":"cardio@hopital.test"}`, `{"aliases":[{"address":"tous@hopital.test",…}]}`},
		[2]string{`{"op":"alias.change","address":"cardio@hopital.test","name":"Soins","alias":{"remove":["LABO@hopital.test"],"from":"domain","state":"disabled"}}`,
			`{"alias":{"address":"cardio@hopital.test","name":"Soins","state":"disabled","from":"domain","count":1,"members":[{"address":"medecin@hopital.test",…}],…}}`},
		[2]string{`{"op":"alias.change","address":"cardio@hopital.test","alias":{"add":["labo@hopital.test"],"state":"active"}}`,
			`{"alias":{…"name":"Soins","state":"active","from":"domain","count":2,…}}`},
		// What an erased account had stays in the list, and is called missing.
		[2]string{`{"op":"account.delete","address":"labo@hopital.test"}`, `{}`},
		[2]string{`{"op":"alias.show","address":"CARDIO@hopital.test"}`,
			`{"alias":{…"members":[{"address":"medecin@hopital.test","is":"account"},{"address":"labo@hopital.test","is":"missing"}],…}}`},
		[2]string{`{"op":"alias.change","address":"cardio@hopital.test","alias":{"remove":["labo@hopital.test"]}}`, `{"alias":{…"count":1,…}}`},
		[2]string{`{"op":"alias.delete","address":"cardio@hopital.test"}`, `{}`},
		[2]string{`{"op":"alias.show","address":"tous@hopital.test"}`, `{"alias":{…"members":[{"address":"cardio@hopital.test","is":"missing"}],…}}`},
		[2]string{`{"op":"account.add","address":"cardio@hopital.test"}`, `{"account":…}`},
	)
}

func TestAliasesThatAreRefused(t *testing.T) {
	limited := func(s *admind.Server) { s.Router.Aliases = backend.AliasLimits{Members: 2, Depth: 2, Recipients: 2} }
	_, at := start(t, filepath.Join(t.TempDir(), "admin.sock"), admind.DefaultLimits(), limited)
	code := func(c admind.Code) string { return fmt.Sprintf(`{"error":{"code":%q,"text":"…"}}`, c) }
	var setUp [][2]string
	for _, a := range []string{"a", "b", "c"} {
		setUp = append(setUp, [2]string{fmt.Sprintf(`{"op":"account.add","address":"%s@hopital.test"}`, a), `{"account":…}`})
	}
	for _, a := range [][2]string{{"l1", "a"}, {"l2", "l1"}} {
		setUp = append(setUp, [2]string{fmt.Sprintf(`{"op":"alias.add","address":"%s@hopital.test","alias":{"add":["%s@hopital.test"]}}`, a[0], a[1]), `{"alias":…}`})
	}
	dialogue(t, at, append(setUp, [][2]string{
		{`{"op":"account.add","address":"l1@hopital.test"}`, `{"error":{"code":"address_taken","text":"an alias has…"}}`},
		{`{"op":"account.add","address":"d@hopital.test","aliases":["l1@hopital.test"]}`, code(admind.AddressTaken)},
		{`{"op":"alias.add","address":"a@hopital.test","alias":{"add":["b@hopital.test"]}}`, `{"error":{"code":"address_taken","text":"an account has…"}}`},
		{`{"op":"alias.add","address":"l1@hopital.test","alias":{"add":["b@hopital.test"]}}`, `{"error":{"code":"address_taken","text":"an alias has…"}}`},
		{`{"op":"alias.add","address":"l@ferme.test","alias":{"add":["b@hopital.test"]}}`, code(admind.BadAddress)},
		{`{"op":"alias.add","address":"postmaster","alias":{"add":["b@hopital.test"]}}`, code(admind.BadAddress)},
		{`{"op":"alias.add","address":"l@hopital.test"}`, code(admind.BadRequest)},
		{`{"op":"alias.add","address":"l@hopital.test","alias":{"add":["nobody@hopital.test"]}}`, code(admind.BadMember)},
		{`{"op":"alias.add","address":"l@hopital.test","alias":{"add":["b@clinique.test"]}}`, `{"error":{"code":"bad_member","text":"…domain…"}}`},
		{`{"op":"alias.add","address":"l@hopital.test","alias":{"add":["postmaster"]}}`, code(admind.BadMember)},
		{`{"op":"alias.add","address":"l@hopital.test","alias":{"add":["b"]}}`, code(admind.BadAddress)},
		{`{"op":"alias.add","address":"l@hopital.test","alias":{"add":["l@hopital.test"]}}`, code(admind.AliasLoop)},
		{`{"op":"alias.change","address":"l1@hopital.test","alias":{"add":["l2@hopital.test"]}}`, code(admind.AliasLoop)},
		{`{"op":"alias.add","address":"l@hopital.test","alias":{"add":["l2@hopital.test"]}}`, code(admind.Limit)},
		{`{"op":"alias.add","address":"l@hopital.test","alias":{"add":["a@hopital.test","b@hopital.test","c@hopital.test"]}}`, code(admind.Limit)},
		{`{"op":"alias.add","address":"l@hopital.test","alias":{"add":["b@hopital.test"],"from":"friends"}}`, code(admind.BadRequest)},
		{`{"op":"alias.add","address":"l@hopital.test","alias":{"add":["b@hopital.test"],"state":"erasing"}}`, code(admind.BadRequest)},
		{`{"op":"alias.add","address":"l@hopital.test","name":"a\u0000b","alias":{"add":["b@hopital.test"]}}`, code(admind.BadRequest)},
		{`{"op":"alias.add","address":"postmaster@hopital.test","alias":{"add":["b@hopital.test"],"from":"members"}}`, code(admind.BadRequest)},
		{`{"op":"alias.change","address":"l1@hopital.test"}`, code(admind.BadRequest)},
		{`{"op":"alias.change","address":"l1@hopital.test","alias":{"remove":["b@hopital.test"]}}`, code(admind.BadMember)},
		{`{"op":"alias.change","address":"l1@hopital.test","alias":{"remove":["a@hopital.test"]}}`, code(admind.BadRequest)},
		{`{"op":"alias.change","address":"a@hopital.test","name":"x"}`, code(admind.NoSuchAlias)},
		{`{"op":"alias.show","address":"l@hopital.test"}`, code(admind.NoSuchAlias)},
		{`{"op":"alias.delete","address":"a@hopital.test"}`, code(admind.NoSuchAlias)},
		{`{"op":"alias.delete"}`, code(admind.BadRequest)},
		// Nothing of it has left a trace.
		{`{"op":"alias.list"}`, `{"aliases":[{"address":"l1@hopital.test",…"count":1,…},{"address":"l2@hopital.test",…"count":1,…}]}`},
	}...)...)
}

func TestChangesOfAliasesAreInTheAuditTrail(t *testing.T) {
	dir := t.TempDir()
	trail, err := storage.OpenAudit(dir, storage.AuditOptions{})
	if err != nil {
		t.Fatal(err)
	}
	o := open(t, func(s *admind.Server) { s.Auth.Audit = trail })
	const address = "cardio@hopital.test"
	o.ask(&admind.Request{Op: admind.AliasAdd, Address: "Cardio@hopital.test", Alias: admind.AliasRequest{Add: []string{medecin}}})
	o.ask(&admind.Request{Op: admind.AliasChange, Address: address, Alias: admind.AliasRequest{Add: []string{labo}}})
	o.refused(&admind.Request{Op: admind.AliasChange, Address: address, Alias: admind.AliasRequest{Add: []string{address}}}, admind.AliasLoop)
	o.ask(&admind.Request{Op: admind.AliasShow, Address: address})
	o.ask(&admind.Request{Op: admind.AliasDelete, Address: address})
	if err := trail.Close(); err != nil {
		t.Fatal(err)
	}
	var got []string
	err = storage.ReadAudit(dir, func(_ []byte, e *storage.Event) bool {
		if e.Account == address {
			got = append(got, e.Event)
			if len(e.Actor) < len("uid 0") {
				t.Errorf("%s by %q", e.Event, e.Actor)
			}
		}
		return true
	})
	if want := []string{"alias.add", "alias.change", "alias.delete"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("the trail has %q, %v; want %q", got, err, want)
	}
}
