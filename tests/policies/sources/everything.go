package main

// A policy that says everything there is to say: what it says must arrive as it is meant.

import (
	"encoding/json"
	"errors"
)

func configure(text string) (*Plan, error) {
	var settings struct{ Name string }
	if err := json.Unmarshal([]byte(text), &settings); err != nil {
		return nil, err
	}
	return &Plan{
		KeySchema:     "everything/1 name=" + settings.Name,
		RequestFields: []string{"x-a", "x-fail"},
		Pointers:      []string{"/a", "/b"},
	}, nil
}

func decide(operation *Operation) (Verdict, error) {
	if why, there := operation.Field("x-fail"); there {
		return nil, errors.New(why)
	}
	a := operation.Values("x-a")
	if len(a) < 2 {
		return Bypass("no second x-a"), nil
	}
	atB, there := operation.TextAt(1)
	if !there {
		return Refusal{Code: "no-b", Detail: "é"}, nil
	}
	Log(Warn, "a line")
	document := Document{Keep: []string{"/a"}, Drop: []string{"/c", "/d"}}
	seven, eight, nine, memo := uint32(7), uint32(8), uint32(9), "memo"
	return &Guard{
		Key:              []Part{Query, Text(a[1]), Text(atB), document, Missing{}},
		Fingerprint:      document,
		RetentionSeconds: &seven,
		TombstoneSeconds: &eight,
		FirstSent:        &nine,
		Forward:          []Field{{"x-b", "1"}},
		Memo:             &memo,
		Labels:           []Field{{"size", "x"}},
	}, nil
}
