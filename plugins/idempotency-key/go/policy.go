// idempotency-key: the client names its operation in a header, the query or the body.
//
// The same policy as builtin:idempotency-key, to the letter: ../vectors.json is what both pass.
package main

import "errors"

var settings *Settings

func configure(text string) (*Plan, error) {
	var err error
	if settings, err = readSettings(text); err != nil {
		return nil, err
	}
	plan := &Plan{KeySchema: settings.keySchema(), Methods: settings.methods, RequestFields: settings.fields()}
	for _, place := range settings.from {
		if place.kind == "body" {
			plan.Pointers = append(plan.Pointers, place.name)
		}
	}
	return plan, nil
}

func decide(operation *Operation) (Verdict, error) {
	for _, place := range settings.from {
		key, there, err := look(operation, place)
		if err == nil && !there {
			continue
		}
		var firstSent *uint32
		if err == nil {
			key, firstSent, err = settings.judge(key)
		}
		if err != nil {
			return Refusal{Code: "key-malformed", Detail: place.spoken() + ": " + err.Error()}, nil
		}
		return &Guard{Key: []Part{Authority, Method, Path, Text(key)}, FirstSent: firstSent}, nil
	}
	if settings.required {
		return Refusal{Code: "key-missing", Detail: settings.absence()}, nil
	}
	return Bypass(settings.absence()), nil
}

var errTwice = errors.New("it comes more than once: send it once, with one key")

// look finds the key in a place, and tells whether there is one. An error is for the caller to read.
func look(operation *Operation, place Place) (string, bool, error) {
	switch place.kind {
	case "query":
		query, _ := operation.Field(":query")
		return keyInQuery(query, place.name)
	case "body":
		return keyInBody(operation, place.pointer)
	}
	values := operation.Values(place.name)
	switch len(values) {
	case 0:
		return "", false, nil
	case 1:
		key, err := parseKey(values[0], settings.strict)
		return key, true, err
	}
	return "", false, errTwice
}
