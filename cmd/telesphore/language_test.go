package main

import (
	"reflect"
	"regexp"
	"testing"
)

func TestLanguagesSayTheSame(t *testing.T) {
	verbs := regexp.MustCompile(`%[a-z]`)
	texts := func(m *messages) map[string]string {
		all := make(map[string]string)
		v := reflect.ValueOf(m).Elem()
		for i := range v.NumField() {
			name, f := v.Type().Field(i).Name, v.Field(i)
			if f.Kind() == reflect.String {
				all[name] = f.String()
				continue
			}
			for j := range f.Len() {
				all[name+string(rune('1'+j))] = f.Index(j).String()
			}
		}
		return all
	}
	en, fr := texts(english()), texts(french())
	for key, text := range en {
		if text == "" || fr[key] == "" {
			t.Errorf("%s is empty in a language", key)
		}
		if a, b := verbs.FindAllString(text, -1), verbs.FindAllString(fr[key], -1); !reflect.DeepEqual(a, b) {
			t.Errorf("%s takes %v in English, %v in French", key, a, b)
		}
	}
}

func TestLanguageIsChosen(t *testing.T) {
	for _, c := range []struct {
		flag string
		env  map[string]string
		want *messages
	}{
		{"fr", nil, french()},
		{"en", map[string]string{"LANG": "fr_FR.UTF-8"}, english()},
		{"", map[string]string{"LANG": "fr_FR.UTF-8"}, french()},
		{"", map[string]string{"LANG": "fr_FR.UTF-8", "LC_ALL": "C"}, english()},
		{"", map[string]string{"LANG": "de_DE.UTF-8"}, english()},
		{"", nil, english()},
	} {
		got, err := language(c.flag, func(name string) string { return c.env[name] })
		if err != nil || got.Title != c.want.Title {
			t.Errorf("--lang %q with %v: %v, %v", c.flag, c.env, got, err)
		}
	}
	if _, err := language("de", nil); err == nil {
		t.Error("--lang de was accepted")
	}
}
