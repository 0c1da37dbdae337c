// my-policy: the client names its operation in a header.
//
// It makes the keys of builtin:idempotency-key, and says so: its key-schema is the same. As soon as
// yours are made in another way, give them a name of your own.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

const longest = 255

var (
	header   string
	required bool
	strict   bool
)

// configure is called first, once in each instance, with the settings as a JSON object.
func configure(text string) (*Plan, error) {
	settings := struct {
		From     []string `json:"from"`
		Required bool     `json:"required"`
		Strict   bool     `json:"strict"`
	}{From: []string{"header:idempotency-key"}}
	reader := json.NewDecoder(bytes.NewReader([]byte(text)))
	reader.DisallowUnknownFields()
	if err := reader.Decode(&settings); err != nil {
		return nil, err
	}
	if len(settings.From) != 1 || !headerName.MatchString(settings.From[0]) {
		return nil, errors.New("`from` must be [\"header:NAME\"], with one name of letters, digits, - and _")
	}
	header = strings.ToLower(settings.From[0][len("header:"):])
	required, strict = settings.Required, settings.Strict
	// All that goes into a key, and nothing else: records live on while this text is the same.
	return &Plan{KeySchema: "idempotency-key/2 from=header:" + header, RequestFields: []string{header}}, nil
}

var headerName = regexp.MustCompile("^header:[A-Za-z0-9_-]+$")

// decide is called for each request that the plan is about. Equal requests have equal answers.
func decide(operation *Operation) (Verdict, error) {
	values := operation.Values(header)
	if len(values) == 0 {
		absence := "there is no idempotency key in the header " + header
		if required {
			return Refusal{Code: "key-missing", Detail: absence}, nil
		}
		return Bypass(absence), nil
	}
	if len(values) > 1 {
		return Refusal{Code: "key-malformed", Detail: fmt.Sprintf("the header %s comes twice", header)}, nil
	}
	key, err := parseKey(values[0], strict)
	if err != nil {
		return Refusal{Code: "key-malformed", Detail: fmt.Sprintf("the header %s: %v", header, err)}, nil
	}
	if len(key) > longest {
		return Refusal{Code: "key-malformed", Detail: fmt.Sprintf("the header %s is longer than 255 bytes", header)}, nil
	}
	return &Guard{Key: []Part{Authority, Method, Path, Text(key)}}, nil
}
