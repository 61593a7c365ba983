package value

import (
	"fmt"
	"slices"
	"strings"
)

// Word is a text that a setting accepts, and what it means there.
type Word struct {
	Text    string
	Meaning string // a phrase for completion; empty if the text says it all
}

// WordOf is a Word whose text is a constant of the type of its field.
func WordOf[T ~string](text T, meaning string) Word { return Word{string(text), meaning} }

func texts(words []Word) []string {
	all := make([]string, len(words))
	for i, w := range words {
		all[i] = w.Text
	}
	return all
}

// OneOf is one of a few words.
func OneOf[T ~string](field *T, words ...Word) Value { return &wordValue[T]{field, words} }

// SomeOf is a list of a few words.
func SomeOf(field *[]string, words ...Word) Value { return &wordsValue{(*listValue)(field), words} }

// UnknownWord is the error for a text that is none of the words of a setting.
type UnknownWord struct {
	Word  string
	Known []string
}

func (e *UnknownWord) Error() string {
	return fmt.Sprintf("got %q, want one of %s", e.Word, strings.Join(e.Known, ", "))
}

// Hint names the word that was probably meant, if one is close.
func (e *UnknownWord) Hint() string {
	if near := Nearest(e.Word, e.Known); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return ""
}

func check(s string, words []Word) error {
	if known := texts(words); !slices.Contains(known, s) {
		return &UnknownWord{Word: s, Known: known}
	}
	return nil
}

type wordValue[T ~string] struct {
	field *T
	words []Word
}

func (v *wordValue[T]) String() string { return string(*v.field) }
func (v *wordValue[T]) Plain() any     { return string(*v.field) }
func (v *wordValue[T]) Shape() Shape   { return Shape{Type: "string", Name: "word", Words: v.words} }

func (v *wordValue[T]) Set(raw any) error {
	s, err := ParseText(raw)
	if err != nil {
		return err
	}
	if err := check(s, v.words); err != nil {
		return err
	}
	*v.field = T(s)
	return nil
}

type wordsValue struct {
	*listValue
	words []Word
}

func (v *wordsValue) Shape() Shape {
	return Shape{Type: "array", Name: "list", Items: &Shape{Type: "string", Words: v.words}}
}

func (v *wordsValue) Set(raw any) error {
	all, err := ParseList(raw)
	if err != nil {
		return err
	}
	for _, s := range all {
		if err := check(s, v.words); err != nil {
			return err
		}
	}
	*v.listValue = all
	return nil
}
