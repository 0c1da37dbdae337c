package main

// The interface of wit/policy.wit for Go: how its types lie in memory (the canonical ABI of the
// component model), and short ways to write what is usual. Nothing but the standard library.
//
// A policy defines configure and decide, and the hooks of hooks.go where it wants them. An error is an err, and so is a panic: the caller gets a 503.

import (
	"errors"
	"fmt"
	"unsafe"
)

// --- what a policy is given ---------------------------------------------------------------------

// Field is a name and a value.
type Field struct{ Name, Value string }

// Body tells how much of the body there is.
type Body uint32

// The cases of `payload`.
const (
	Absent Body = iota
	Withheld
	Selected
	Whole
	Oversize
	Malformed
)

// Found is one place in the body.
type Found struct {
	// Kind is 0 where nothing is there, 1 for a text, 2 for anything else, as JSON.
	Kind uint8
	Text string
}

// Operation is the request, as far as the plan asked for it.
type Operation struct {
	Method string
	Fields []Field
	Body   Body
	// Found has a place for each pointer of the plan, where the body is Selected.
	Found []Found
	// Content is all of the body where it is Whole, and the reason where it is Malformed.
	Content string
}

// Values are those of a declared field, as they arrived.
func (o *Operation) Values(name string) []string {
	var values []string
	for _, field := range o.Fields {
		if field.Name == name {
			values = append(values, field.Value)
		}
	}
	return values
}

// Field is the first value of a declared field, and whether there is one.
func (o *Operation) Field(name string) (string, bool) {
	for _, field := range o.Fields {
		if field.Name == name {
			return field.Value, true
		}
	}
	return "", false
}

// TextAt is the text at the plan's pointer of this place, and whether there is one.
func (o *Operation) TextAt(pointer int) (string, bool) {
	if pointer >= len(o.Found) || o.Found[pointer].Kind != 1 {
		return "", false
	}
	return o.Found[pointer].Text, true
}

// --- what a policy says -------------------------------------------------------------------------

// Plan is what a policy needs and promises.
type Plan struct {
	KeySchema     string
	Methods       []string
	RequestFields []string
	// Pointers are the places of the body that it reads.
	Pointers []string
	// Whole is how many bytes of the body it reads, where it reads all of it.
	Whole uint32
	// ResponseFields, ResponsePointers and ResponseWhole are what settle reads of answers.
	ResponseFields, ResponsePointers []string
	ResponseWhole                    uint32
	// Outcomes are tried in order before settle.
	Outcomes []StatusRule
}

// Disposition is what an answer means.
type Disposition uint8

// The cases of `disposition`.
const (
	Completed Disposition = iota
	Consumed
	NotApplied
	Unknown
)

// StatusRule says what whole answers with such a status mean.
type StatusRule struct {
	Lowest, Highest uint16
	Disposition     Disposition
}

func (p *Plan) put(at memory) {
	at.text(0, p.KeySchema)
	at.texts(8, p.Methods)
	at.texts(16, p.RequestFields)
	at.want(24, p.Pointers, p.Whole)
	at.texts(36, p.ResponseFields)
	at.want(44, p.ResponsePointers, p.ResponseWhole)
	rules := room(6 * len(p.Outcomes))
	for i, rule := range p.Outcomes {
		rules.half(6*uintptr(i), rule.Lowest)
		rules.half(6*uintptr(i)+2, rule.Highest)
		rules.byte(6*uintptr(i)+4, uint8(rule.Disposition))
	}
	at.list(56, rules, len(p.Outcomes))
}

func (m memory) want(offset uintptr, pointers []string, whole uint32) {
	if len(pointers) > 0 {
		m.byte(offset, 1)
		m.texts(offset+4, pointers)
	} else if whole > 0 {
		m.byte(offset, 2)
		m.word(offset+4, whole)
	}
}

// Attribute is a value that the host takes from the request.
type Attribute uint8

// The cases of `attribute`.
const (
	Method Attribute = iota
	Authority
	Path
	Query
	Content
)

// Part is an element of a key: one of Text, Bytes, Attribute, Document and Missing.
type Part interface{ put(at memory) }

// Text is itself.
type Text string

// Bytes are themselves.
type Bytes []byte

// Document is the body as a canonical document. Keep empty: all of it.
type Document struct{ Keep, Drop []string }

// Missing is what a request lacks.
type Missing struct{}

func (p Text) put(at memory)      { at.byte(0, 0); at.text(4, string(p)) }
func (p Bytes) put(at memory)     { at.byte(0, 1); at.text(4, string(p)) }
func (p Attribute) put(at memory) { at.byte(0, 2); at.byte(4, uint8(p)) }
func (p Document) put(at memory)  { at.byte(0, 3); at.texts(4, p.Keep); at.texts(12, p.Drop) }
func (p Missing) put(at memory)   { at.byte(0, 4) }

// Verdict is one of Bypass, Refusal and *Guard.
type Verdict interface{ put(at memory) }

// Bypass leaves the request unprotected, for this reason.
type Bypass string

// Refusal turns the caller away. A status of 0 is 400.
type Refusal struct {
	Status       uint16
	Code, Detail string
	Fields       []Field
}

// Fingerprint is what must be equal when a key is reused; nil is all of the request. It is one of
// Document, Parts and KeyOnly.
type Fingerprint interface{ fingerprint(at memory) }

// Parts are exactly what must be equal.
type Parts []Part

// KeyOnly needs nothing beside the key.
type KeyOnly struct{}

// Guard protects the request under Key. Nil and empty are the route's to say.
type Guard struct {
	Key                                           []Part
	Fingerprint                                   Fingerprint
	WhileRunning                                  WhileRunning
	WhenUnknown                                   WhenUnknown
	RetentionSeconds, TombstoneSeconds, FirstSent *uint32
	Forward                                       []Field
	Memo                                          *string
	Labels                                        []Field
}

// WhileRunning is what a duplicate gets in the meantime.
type WhileRunning uint8

// The cases of `while-running`; none of them is the route's default.
const (
	Reject WhileRunning = iota + 1
	Wait
)

// WhenUnknown is what happens when nobody knows the outcome.
type WhenUnknown uint8

// The cases of `when-unknown`; none of them is the route's default.
const (
	Hold WhenUnknown = iota + 1
	Probe
	Resend
)

func (d Document) fingerprint(at memory) { at.byte(0, 1); at.texts(4, d.Keep); at.texts(12, d.Drop) }
func (p Parts) fingerprint(at memory)    { at.byte(0, 2); at.parts(4, p) }
func (KeyOnly) fingerprint(at memory)    { at.byte(0, 3) }

func (b Bypass) put(at memory) {
	at.byte(0, 0)
	at.text(4, string(b))
}

func (r Refusal) put(at memory) {
	if r.Status == 0 {
		r.Status = 400
	}
	at.byte(0, 2)
	at.byte(4, uint8(r.Status))
	at.byte(5, uint8(r.Status>>8))
	at.text(8, r.Code)
	at.text(16, r.Detail)
	at.fields(24, r.Fields)
}

func (g *Guard) put(at memory) {
	at.byte(0, 1)
	at.parts(4, g.Key)
	if g.Fingerprint != nil {
		g.Fingerprint.fingerprint(at.at(12))
	}
	at.byte(32, uint8(g.WhileRunning))
	at.byte(33, uint8(g.WhenUnknown))
	at.number(36, g.RetentionSeconds)
	at.number(44, g.TombstoneSeconds)
	at.number(52, g.FirstSent)
	at.fields(60, g.Forward)
	if g.Memo != nil {
		at.byte(68, 1)
		at.text(72, *g.Memo)
	}
	at.fields(80, g.Labels)
}

// --- memory -------------------------------------------------------------------------------------

// What the host holds an address of must not be collected in the meantime.
var held []any

// memory is a place where a result is written; zero is none, the empty list and the first case.
type memory struct{ start unsafe.Pointer }

func (m memory) at(offset uintptr) memory { return memory{unsafe.Add(m.start, offset)} }

func (m memory) byte(offset uintptr, value uint8) {
	*(*uint8)(unsafe.Add(m.start, offset)) = value
}

func (m memory) half(offset uintptr, value uint16) {
	*(*uint16)(unsafe.Add(m.start, offset)) = value
}

func (m memory) word(offset uintptr, value uint32) {
	*(*uint32)(unsafe.Add(m.start, offset)) = value
}

func (m memory) text(offset uintptr, text string) {
	held = append(held, text)
	m.word(offset, address(unsafe.Pointer(unsafe.StringData(text))))
	m.word(offset+4, uint32(len(text)))
}

func (m memory) texts(offset uintptr, texts []string) {
	list := room(8 * len(texts))
	for i, text := range texts {
		list.text(8*uintptr(i), text)
	}
	m.list(offset, list, len(texts))
}

func (m memory) fields(offset uintptr, fields []Field) {
	list := room(16 * len(fields))
	for i, field := range fields {
		list.text(16*uintptr(i), field.Name)
		list.text(16*uintptr(i)+8, field.Value)
	}
	m.list(offset, list, len(fields))
}

func (m memory) parts(offset uintptr, parts []Part) {
	list := room(20 * len(parts))
	for i, part := range parts {
		part.put(list.at(20 * uintptr(i)))
	}
	m.list(offset, list, len(parts))
}

func (m memory) number(offset uintptr, value *uint32) {
	if value != nil {
		m.byte(offset, 1)
		m.word(offset+4, *value)
	}
}

func (m memory) list(offset uintptr, list memory, count int) {
	m.word(offset, address(list.start))
	m.word(offset+4, uint32(count))
}

// room is cleared memory, aligned for whatever lies in it.
func room(bytes int) memory {
	words := make([]uint64, bytes/8+1)
	held = append(held, words)
	return memory{unsafe.Pointer(unsafe.SliceData(words))}
}

func address(at unsafe.Pointer) uint32 { return uint32(uintptr(at)) }

// lift copies a text that the host has put into memory.
func lift(at unsafe.Pointer, length uint32) string {
	return string(unsafe.Slice((*byte)(at), length))
}

// liftAt reads a text whose address and length lie at `at`.
func liftAt(at unsafe.Pointer) string {
	words := (*[2]uint32)(at)
	return lift(unsafe.Pointer(uintptr(words[0])), words[1])
}

// liftPayload reads the places of a body that is Selected, or all of one that is Whole.
func liftPayload(body Body, first unsafe.Pointer, count uint32) (places []Found, content string) {
	switch body {
	case Selected:
		for i := range uintptr(count) {
			at := unsafe.Add(first, 12*i)
			found := Found{Kind: *(*uint8)(at)}
			if found.Kind != 0 {
				found.Text = liftAt(unsafe.Add(at, 4))
			}
			places = append(places, found)
		}
	case Whole, Malformed:
		content = lift(first, count)
	}
	return places, content
}

// --- what the host calls ------------------------------------------------------------------------

//go:wasmexport cabi_realloc
func cabiRealloc(old unsafe.Pointer, oldSize, align, size uint32) unsafe.Pointer {
	at := room(int(size)).start
	if oldSize > 0 {
		copy(unsafe.Slice((*byte)(at), size), unsafe.Slice((*byte)(old), oldSize))
	}
	return at
}

//go:wasmexport configure
func exportConfigure(settings unsafe.Pointer, length uint32) (result unsafe.Pointer) {
	defer func() {
		if panicked := recover(); panicked != nil {
			result = failed(76, fmt.Errorf("panic: %v", panicked))
		}
	}()
	plan, err := configure(lift(settings, length))
	if err != nil {
		return failed(76, err)
	}
	at := room(76)
	plan.put(at.at(4))
	return at.start
}

//go:wasmexport decide
func exportDecide(
	method unsafe.Pointer, methodLength uint32, fields unsafe.Pointer, count uint32,
	payload uint32, first unsafe.Pointer, second uint32,
) (result unsafe.Pointer) {
	defer func() {
		if panicked := recover(); panicked != nil {
			result = failed(100, fmt.Errorf("panic: %v", panicked))
		}
	}()
	operation := &Operation{Method: lift(method, methodLength), Body: Body(payload)}
	for i := range uintptr(count) {
		at := unsafe.Add(fields, 16*i)
		operation.Fields = append(operation.Fields, Field{liftAt(at), liftAt(unsafe.Add(at, 8))})
	}
	operation.Found, operation.Content = liftPayload(operation.Body, first, second)
	verdict, err := decide(operation)
	if err == nil && verdict == nil {
		err = errors.New("decide returned neither a verdict nor an error")
	}
	if err != nil {
		return failed(100, err)
	}
	at := room(100)
	verdict.put(at.at(4))
	return at.start
}

//go:wasmexport cabi_post_configure
func postConfigure(result unsafe.Pointer) { held = nil }

//go:wasmexport cabi_post_decide
func postDecide(result unsafe.Pointer) { held = held[:0] }

func failed(bytes int, err error) unsafe.Pointer {
	at := room(bytes)
	at.byte(0, 1)
	at.text(4, err.Error())
	return at.start
}

//go:wasmimport oncegate:policy/log@0.1.0 emit
func emit(level uint32, message unsafe.Pointer, length uint32)

// Level is that of a line in the log.
type Level uint32

// The cases of `level`.
const (
	Debug Level = iota
	Info
	Warn
	Error
)

// Log writes a line for the operator.
func Log(level Level, message string) {
	emit(uint32(level), unsafe.Pointer(unsafe.StringData(message)), uint32(len(message)))
}

func main() {}
