package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// keyInQuery finds the value of a parameter, and tells whether there is one.
func keyInQuery(query, name string) (string, bool, error) {
	var found []string
	for _, pair := range strings.Split(query, "&") {
		there, value, _ := strings.Cut(pair, "=")
		if pair != "" && decoded(there) == name {
			found = append(found, decoded(value))
		}
	}
	switch {
	case len(found) == 0:
		return "", false, nil
	case len(found) > 1:
		return "", false, errTwice
	case strings.ContainsRune(found[0], utf8.RuneError):
		return "", false, errors.New("it isn't UTF-8: send letters, digits and hyphens")
	}
	return ofText(found[0])
}

// decoded is a text as forms are decoded. A percent sign that encodes nothing is itself.
func decoded(text string) string {
	var bytes []byte
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c == '+' {
			c = ' '
		} else if c == '%' && i+3 <= len(text) {
			if encoded, err := hex.DecodeString(text[i+1 : i+3]); err == nil {
				c = encoded[0]
				i += 2
			}
		}
		bytes = append(bytes, c)
	}
	return string(bytes)
}

// keyInBody finds the key at this pointer of the plan, and tells whether there is one.
func keyInBody(operation *Operation, pointer int) (string, bool, error) {
	contentType, _ := operation.Field("content-type")
	switch {
	case operation.Body == Oversize:
		return "", false, errors.New("the body is too large to be read for a key: send a smaller one")
	case operation.Body == Malformed && isDocument(contentType):
		return "", false, fmt.Errorf("the body can't be read for a key (%s): send a well-formed one", operation.Content)
	case operation.Body != Selected:
		return "", false, nil
	}
	switch found := operation.Found[pointer]; {
	case found.Kind == 1:
		return ofText(found.Text)
	case found.Kind == 0 || found.Text == "null":
		return "", false, nil
	case strings.Contains("-0123456789", found.Text[:1]):
		// A number, in canonical form, is as good as a string.
		return found.Text, true, nil
	}
	return "", false, errors.New("it is neither a string nor a number: send a string")
}

// isDocument tells whether a body that can't be read is at fault. Others merely are no documents and
// hold no key.
func isDocument(contentType string) bool {
	essence, _, _ := strings.Cut(contentType, ";")
	essence = strings.ToLower(strings.TrimSpace(essence))
	switch essence {
	case "", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data":
		return true
	}
	return strings.HasSuffix(essence, "json")
}

func ofText(key string) (string, bool, error) {
	if key == "" {
		return "", false, errors.New("it is empty: send a key of your own for each operation, or leave it out")
	}
	if strings.ContainsFunc(key, unicode.IsControl) {
		return "", false, errors.New("it holds a control character: send it without")
	}
	return key, true, nil
}
