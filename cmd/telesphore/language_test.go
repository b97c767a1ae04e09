package main

import (
	"fmt"
	"reflect"
	"regexp"
	"testing"
)

func TestLanguagesSayTheSame(t *testing.T) {
	verbs := regexp.MustCompile(`%[a-z]`)
	texts := func(m *demoText) map[string]string {
		all := make(map[string]string)
		v := reflect.ValueOf(m).Elem()
		for i := range v.NumField() {
			name, f := v.Type().Field(i).Name, v.Field(i)
			if f.Kind() == reflect.String {
				all[name] = f.String()
				continue
			}
			if f.Kind() == reflect.Map {
				for _, key := range f.MapKeys() {
					all[fmt.Sprint(name, key)] = f.MapIndex(key).String()
				}
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
	for name, want := range map[string]*demoText{"fr": french(), "en": english()} {
		if got, err := language(name); err != nil || got.Title != want.Title {
			t.Errorf("--lang %q: %v, %v", name, got, err)
		}
	}
	for _, name := range []string{"de", ""} {
		if _, err := language(name); err == nil {
			t.Errorf("--lang %q was accepted", name)
		}
	}
}
