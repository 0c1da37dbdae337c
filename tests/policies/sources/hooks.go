package main

// A policy with all hooks, which says what it was told: all of it must arrive, both ways.

import (
	"errors"
	"fmt"
	"strings"
)

func configure(string) (*Plan, error) {
	return &Plan{
		KeySchema: "hooks/1", RequestFields: []string{"x-key"}, Pointers: []string{"/id"},
		ResponseFields: []string{"x-status"}, ResponsePointers: []string{"/status"},
		Outcomes: []StatusRule{{418, 418, NotApplied}, {500, 504, Unknown}},
	}, nil
}

func decide(operation *Operation) (Verdict, error) {
	key, there := operation.Field("x-key")
	if !there {
		return Bypass("no key"), nil
	}
	return &Guard{Key: []Part{Text(key)}, Memo: &key, WhileRunning: Wait, WhenUnknown: Probe}, nil
}

func settle(receipt *Receipt, reply *Reply) (*Settlement, error) {
	says := func(word string) bool {
		for _, field := range append(reply.Fields, reply.Trailers...) {
			if field.Value == word {
				return true
			}
		}
		return false
	}
	status, _ := reply.TextAt(0)
	switch {
	case says("fail"):
		return nil, fmt.Errorf("no word on %d", reply.Status)
	case !reply.Complete:
		return &Settlement{Disposition: Completed}, nil
	case says("refused"):
		return &Settlement{Disposition: NotApplied}, nil
	case status == "lost":
		return &Settlement{Disposition: Unknown}, nil
	case status == "half":
		memo, five := *receipt.Memo+"!", uint32(5)
		return &Settlement{Consumed, &memo, &five}, nil
	}
	return nil, nil
}

func or(text *string) string {
	if text == nil {
		return "-"
	}
	return *text
}

func question(r *Receipt) (*Outbound, error) {
	switch or(r.Memo) {
	case "":
		return nil, nil
	case "fail":
		panic("no question")
	}
	asked := Get(fmt.Sprintf("/q?n=%d", r.Attempts))
	all := fmt.Sprint(r.Route, " ", r.Method, " ", r.Authority, " ", r.Path, " ", or(r.Principal), " ",
		r.KeySchema, " ", r.FirstAttempt, " ", or(r.Memo))
	asked.Fields = []Field{{"x-all", all}}
	return asked, nil
}

func reading(_ *Receipt, asked *Outbound, answer *Reply) (Finding, error) {
	switch {
	case answer.Status == 409:
		return FoundConsumed{}, nil
	case answer.Status == 404:
		return DidNotHappen{}, nil
	case answer.Status == 202:
		return StillUnknown{}, nil
	case answer.Status == 500:
		return nil, errors.New("status 500")
	case strings.HasPrefix(asked.Path, "/q"):
		return Ask(*Get("/one/" + answer.Content)), nil
	}
	reference, _ := answer.Field("x-ref")
	fields := []Field{{"content-type", "text/plain"}, {"x-asked", asked.Path}, {"x-ref", reference}}
	return Happened{Status: 201, Fields: fields, Content: answer.Content}, nil
}

func present(receipt *Receipt, operation *Operation, reply *Reply) (*Changes, error) {
	id, there := operation.TextAt(0)
	if !there {
		return nil, nil
	}
	if id == "fail" {
		return nil, errors.New("no words")
	}
	body := id + ":" + reply.Content
	return &Changes{Set: []Field{{"x-for", or(receipt.Principal)}}, Remove: []string{"x-kept"}, Body: &body}, nil
}

func explain(operation *Operation, p *Problem) (*Wording, error) {
	switch p.Code {
	case "expired":
		return nil, nil
	case "draining":
		return nil, errors.New(p.Code)
	}
	outcome, retryable, after, first, id := "-", "no", "-", "-", "-"
	if p.Outcome != nil {
		outcome = []string{"completed", "consumed", "not-applied", "unknown"}[*p.Outcome]
	}
	if p.Retryable {
		retryable = "yes"
	}
	if p.RetryAfterSeconds != nil {
		after = fmt.Sprint(*p.RetryAfterSeconds)
	}
	if p.FirstStatus != nil {
		first = fmt.Sprint(*p.FirstStatus)
	}
	if text, there := operation.TextAt(0); there {
		id = text
	}
	body := fmt.Sprint(p.Code, " ", p.Status, " ", p.Detail, " ", or(p.OperationID), " ", outcome, " ", retryable, " ",
		after, " ", first, " ", or(p.FirstLocation), " ", id)
	return &Wording{Status: 200, Fields: []Field{{"content-type", "text/plain"}}, Body: body}, nil
}
