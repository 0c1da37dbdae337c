package main

// What the hooks beside decide are given and say. A policy that defines settle, question and reading,
// or present and explain, exports them: `oncegate policy build` sees that, and takes outcome.go,
// resolution.go and presentation.go in with it.
//
//	func settle(receipt *Receipt, reply *Reply) (*Settlement, error)
//	func question(receipt *Receipt) (*Outbound, error)
//	func reading(receipt *Receipt, asked *Outbound, answer *Reply) (Finding, error)
//	func present(receipt *Receipt, operation *Operation, reply *Reply) (*Changes, error)
//	func explain(operation *Operation, problem *Problem) (*Wording, error)

import (
	"errors"
	"fmt"
	"unsafe"
)

// --- what hooks are given -----------------------------------------------------------------------

// Receipt is what the ledger still knows when the request is gone.
type Receipt struct {
	OperationID, Route, Method, Authority, Path string
	Principal                                   *string
	KeySchema                                   string
	// FirstAttempt is in Unix seconds.
	Attempts, FirstAttempt uint32
	Memo                   *string
}

// Reply is an answer of the upstream. One that a policy hands out has Status, Fields, Trailers and
// Content.
type Reply struct {
	Status           uint16
	Fields, Trailers []Field
	Body             Body
	// Found has a place for each pointer of the plan, where the body is Selected.
	Found []Found
	// Content is all of the body where it is Whole, and the reason where it is Malformed.
	Content string
	// Complete: it arrived to its end.
	Complete bool
}

// Field is the first value of a field that is shown, and whether there is one.
func (r *Reply) Field(name string) (string, bool) {
	for _, field := range r.Fields {
		if field.Name == name {
			return field.Value, true
		}
	}
	return "", false
}

// TextAt is the text at the plan's pointer of this place, and whether there is one.
func (r *Reply) TextAt(pointer int) (string, bool) {
	if pointer >= len(r.Found) || r.Found[pointer].Kind != 1 {
		return "", false
	}
	return r.Found[pointer].Text, true
}

// Problem is one of the gateway's own answers.
type Problem struct {
	Status            uint16
	Code, Detail      string
	OperationID       *string
	Outcome           *Disposition
	Retryable         bool
	RetryAfterSeconds *uint32
	FirstStatus       *uint16
	FirstLocation     *string
}

// --- what hooks say -----------------------------------------------------------------------------

// Settlement is what settle says; nil leaves the answer to the gateway's own table.
type Settlement struct {
	Disposition      Disposition
	Memo             *string
	RetentionSeconds *uint32
}

// Outbound is a request for the host to send; nil: nothing can be asked. The path has the query.
type Outbound struct {
	Method, Path string
	Fields       []Field
	Body         *string
}

// Get asks for this path.
func Get(path string) *Outbound { return &Outbound{Method: "GET", Path: path} }

// Finding is what reading says: one of Happened, FoundConsumed, DidNotHappen, StillUnknown and Ask.
type Finding interface{ finding(at memory) }

// Happened is the answer to replay.
type Happened Reply

// Ask asks this next.
type Ask Outbound

// FoundConsumed: it happened; the answer is not known.
type FoundConsumed struct{}

// DidNotHappen is what it says.
type DidNotHappen struct{}

// StillUnknown is what it says.
type StillUnknown struct{}

// Changes are what a duplicate's answer differs in from the kept one; nil: in nothing.
type Changes struct {
	Set    []Field
	Remove []string
	Body   *string
}

// Wording is a problem in the caller's words; nil: in the gateway's.
type Wording struct {
	Status uint16
	Fields []Field
	Body   string
}

// --- memory -------------------------------------------------------------------------------------

func (f Happened) finding(at memory) {
	at.byte(0, 0)
	at.half(4, f.Status)
	at.fields(8, f.Fields)
	at.fields(16, f.Trailers)
	if f.Content != "" {
		at.byte(24, uint8(Whole))
		at.text(28, f.Content)
	}
	at.byte(36, 1)
}

func (FoundConsumed) finding(at memory) { at.byte(0, 1) }
func (DidNotHappen) finding(at memory)  { at.byte(0, 2) }
func (StillUnknown) finding(at memory)  { at.byte(0, 3) }

func (f Ask) finding(at memory) {
	at.byte(0, 4)
	(*Outbound)(&f).put(at.at(4))
}

func (o *Outbound) put(at memory) {
	at.text(0, o.Method)
	at.text(8, o.Path)
	at.fields(16, o.Fields)
	at.option(24, o.Body)
}

func (m memory) option(offset uintptr, text *string) {
	if text != nil {
		m.byte(offset, 1)
		m.text(offset+4, *text)
	}
}

func wordAt(at unsafe.Pointer, offset uintptr) uint32 { return *(*uint32)(unsafe.Add(at, offset)) }
func byteAt(at unsafe.Pointer, offset uintptr) uint8  { return *(*uint8)(unsafe.Add(at, offset)) }

func liftOption(at unsafe.Pointer, offset uintptr) *string {
	if byteAt(at, offset) == 0 {
		return nil
	}
	text := liftAt(unsafe.Add(at, offset+4))
	return &text
}

func liftFields(at unsafe.Pointer) []Field {
	var fields []Field
	first := unsafe.Pointer(uintptr(wordAt(at, 0)))
	for i := range uintptr(wordAt(at, 4)) {
		field := unsafe.Add(first, 16*i)
		fields = append(fields, Field{liftAt(field), liftAt(unsafe.Add(field, 8))})
	}
	return fields
}

const receiptSize, operationSize, outboundSize, replySize = 80, 28, 36, 36

func liftReceipt(at unsafe.Pointer) *Receipt {
	text := func(offset uintptr) string { return liftAt(unsafe.Add(at, offset)) }
	return &Receipt{
		OperationID: text(0), Route: text(8), Method: text(16), Authority: text(24), Path: text(32),
		Principal: liftOption(at, 40), KeySchema: text(52),
		Attempts: wordAt(at, 60), FirstAttempt: wordAt(at, 64), Memo: liftOption(at, 68),
	}
}

func liftReply(at unsafe.Pointer) *Reply {
	reply := &Reply{
		Status: *(*uint16)(at), Fields: liftFields(unsafe.Add(at, 4)), Trailers: liftFields(unsafe.Add(at, 12)),
		Body: Body(byteAt(at, 20)), Complete: byteAt(at, 32) != 0,
	}
	reply.Found, reply.Content = liftPayload(reply.Body, unsafe.Pointer(uintptr(wordAt(at, 24))), wordAt(at, 28))
	return reply
}

func liftOutbound(at unsafe.Pointer) *Outbound {
	return &Outbound{
		Method: liftAt(at), Path: liftAt(unsafe.Add(at, 8)), Fields: liftFields(unsafe.Add(at, 16)),
		Body: liftOption(at, 24),
	}
}

func liftOperationAt(at unsafe.Pointer) *Operation {
	operation := &Operation{Method: liftAt(at), Fields: liftFields(unsafe.Add(at, 8)), Body: Body(byteAt(at, 16))}
	first := unsafe.Pointer(uintptr(wordAt(at, 20)))
	operation.Found, operation.Content = liftPayload(operation.Body, first, wordAt(at, 24))
	return operation
}

func liftProblem(at unsafe.Pointer) *Problem {
	problem := &Problem{
		Status: *(*uint16)(at), Code: liftAt(unsafe.Add(at, 4)), Detail: liftAt(unsafe.Add(at, 12)),
		OperationID: liftOption(at, 20), Retryable: byteAt(at, 34) != 0, FirstLocation: liftOption(at, 48),
	}
	if byteAt(at, 32) != 0 {
		outcome := Disposition(byteAt(at, 33))
		problem.Outcome = &outcome
	}
	if byteAt(at, 36) != 0 {
		seconds := wordAt(at, 40)
		problem.RetryAfterSeconds = &seconds
	}
	if byteAt(at, 44) != 0 {
		status := *(*uint16)(unsafe.Add(at, 46))
		problem.FirstStatus = &status
	}
	return problem
}

// answer calls a hook and writes what it says, in so many bytes; a panic is an err.
func answer(bytes int, hook func(at memory) error) (result unsafe.Pointer) {
	defer func() {
		if panicked := recover(); panicked != nil {
			result = failed(bytes, fmt.Errorf("panic: %v", panicked))
		}
	}()
	at := room(bytes)
	if err := hook(at); err != nil {
		return failed(bytes, err)
	}
	return at.start
}

var errNoFinding = errors.New("reading returned neither a finding nor an error")
