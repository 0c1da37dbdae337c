package main

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// The part of regular expressions that all languages of this policy read alike. What is beyond it is
// refused: `\pL` and `(?i)` mean one thing to Go and another, or nothing, to Rust.
const (
	member = `(?:[^\\\[\]^-]|\\[\^$\\.*+?()\[\]{}|/-])`
	class  = `\[\^?-?(?:` + member + `(?:-` + member + `)?|\\[dDwW])+-?\]`
	atom   = `[^\\.*+?()\[\]{}|^$]|\\[dDwW\^$\\.*+?()\[\]{}|/]|\.|` + class + `|\)`
	count  = `(?:[*+?]|\{[0-9]{1,3}(?:,[0-9]{0,3})?\})\??`
)

var known = regexp.MustCompile(`(?s)^(?:(?:` + atom + `)(?:` + count + `)?|\((?:\?:)?|[|^$])*$`)

// compile makes a pattern that fits from end to end.
func compile(pattern string) (*regexp.Regexp, error) {
	// Doubled, these are operators on classes for some.
	doubled := strings.Contains(pattern, "&&") || strings.Contains(pattern, "~~")
	if doubled || !known.MatchString(pattern) {
		return nil, errors.New("`pattern` must be of literals, classes, \\d, \\w, ., groups, |, *, +, ?, {m,n}, ^ and $")
	}
	// Alone first: `a)|(b` is none, but would be one inside of the parentheses.
	if _, err := regexp.Compile(pattern); err != nil {
		return nil, fmt.Errorf("`pattern` is no regular expression: %w", err)
	}
	return regexp.Compile("^(?:" + pattern + ")$")
}
