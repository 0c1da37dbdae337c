package main

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Settings are what the operator wants.
type Settings struct {
	from             []Place
	required, strict bool
	methods          []string
	pattern          *regexp.Regexp
	min, max         int
	keyTime          string
}

// Place is where a key may be: a header, a parameter of the query, or a place in the body.
type Place struct {
	kind, name string
	// Its place among the pointers of the plan, where it is in the body.
	pointer int
}

const (
	mostPlaces    = 32
	longestKey    = 4096
	longestSchema = 256
	// A name is cut in what a caller reads, because a refusal's detail has a bound.
	spokenName = 40
)

// readSettings takes them from their JSON. An error names the setting and says what would do.
func readSettings(text string) (*Settings, error) {
	given := map[string]json.RawMessage{}
	if err := json.Unmarshal([]byte(text), &given); err != nil {
		return nil, fmt.Errorf("the settings must be a JSON object: %w", err)
	}
	from, pattern := []string{"header:idempotency-key"}, ""
	s := &Settings{min: 1, max: 255}
	known := map[string]any{
		"from": (*texts)(&from), "required": &s.required, "strict": &s.strict, "methods": (*texts)(&s.methods),
		"pattern": &pattern, "min": &s.min, "max": &s.max, "key_time": &s.keyTime,
	}
	for name, value := range given {
		to, there := known[name]
		if !there {
			return nil, fmt.Errorf("there is no setting %q", name)
		}
		if err := json.Unmarshal(value, to); err != nil || string(value) == "null" {
			return nil, fmt.Errorf("`%s` can't be %s: %v", name, value, err)
		}
	}
	if err := s.readPlaces(from); err != nil {
		return nil, err
	}
	if _, there := given["pattern"]; there {
		var err error
		if s.pattern, err = compile(pattern); err != nil {
			return nil, err
		}
	}
	slices.Sort(s.methods)
	s.methods = slices.Compact(s.methods)
	isHeader := func(place Place) bool { return place.kind == "header" }
	_, timed := given["key_time"]
	switch {
	case s.min < 1 || s.min > s.max || s.max > longestKey:
		return nil, fmt.Errorf("`min` and `max` must be whole numbers from 1 to %d", longestKey)
	case timed && s.keyTime != "uuidv7" && s.keyTime != "ulid":
		return nil, errors.New("`key_time` must be \"uuidv7\" or \"ulid\"")
	case s.strict && !slices.ContainsFunc(s.from, isHeader):
		return nil, errors.New("`strict` is about headers, and `from` names none")
	}
	return s, nil
}

// texts are a list of them; one text is as good as a list of one.
type texts []string

func (t *texts) UnmarshalJSON(value []byte) error {
	*t = texts{""}
	if value[0] == '"' {
		return json.Unmarshal(value, &(*t)[0])
	}
	return json.Unmarshal(value, (*[]string)(t))
}

var header = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")

func (s *Settings) readPlaces(from []string) error {
	pointers := 0
	for _, text := range from {
		kind, name, _ := strings.Cut(text, ":")
		place := Place{kind: kind, name: name}
		switch {
		case kind == "header" && header.MatchString(name):
			place.name = strings.ToLower(name)
		case kind == "query" && name != "":
		case kind == "body" && strings.HasPrefix(name, "/"):
			place.pointer = pointers
			pointers++
		default:
			return fmt.Errorf("`from` names %q: write header:NAME, query:NAME or body:/POINTER", text)
		}
		if slices.ContainsFunc(s.from, func(other Place) bool { return other.written() == place.written() }) {
			return fmt.Errorf("`from` names %q twice", text)
		}
		s.from = append(s.from, place)
	}
	if len(s.from) < 1 || len(s.from) > mostPlaces {
		return fmt.Errorf("`from` names %d places: name 1 to %d", len(s.from), mostPlaces)
	}
	return nil
}

// keySchema is what goes into keys, and which requests have one. Equal texts promise equal keys.
func (s *Settings) keySchema() string {
	schema := "idempotency-key/2 from=" + joined(s.from, Place.written, ",")
	if len(s.methods) > 0 {
		schema += " methods=" + strings.Join(s.methods, ",")
	}
	if s.keyTime != "" {
		schema += " key_time=" + s.keyTime
	}
	if len(schema) <= longestSchema {
		return schema
	}
	return fmt.Sprintf("idempotency-key/2 sha256=%x", sha256.Sum256([]byte(schema)))
}

// fields are what the plan declares, each once.
func (s *Settings) fields() []string {
	var query, headers, body []string
	for _, place := range s.from {
		switch place.kind {
		case "header":
			headers = append(headers, place.name)
		case "query":
			query = []string{":query"}
		case "body":
			body = []string{"content-type"}
		}
	}
	if slices.Contains(headers, "content-type") {
		body = nil
	}
	return slices.Concat(query, headers, body)
}

// absence is what to say where there is no key.
func (s *Settings) absence() string {
	if len(s.from) > 4 {
		return "there is no idempotency key in " + joined(s.from[:4], Place.spoken, " or ") + " or elsewhere"
	}
	return "there is no idempotency key in " + joined(s.from, Place.spoken, " or ")
}

// written is a place as an operator would write it, in the characters that a key-schema may have.
func (p Place) written() string {
	text := p.kind + ":"
	for _, c := range []byte(p.name) {
		if c > ' ' && c <= '~' && c != ',' && c != '%' {
			text += string(rune(c))
		} else {
			text += fmt.Sprintf("%%%02X", c)
		}
	}
	return text
}

// spoken is a place as a caller is told.
func (p Place) spoken() string {
	name := p.name
	if runes := []rune(name); len(runes) > spokenName {
		name = string(runes[:spokenName])
	}
	switch p.kind {
	case "header":
		return "the header " + name
	case "query":
		return "the query parameter " + name
	}
	return name + " of the body"
}

func joined(places []Place, word func(Place) string, by string) string {
	var words []string
	for _, place := range places {
		words = append(words, word(place))
	}
	return strings.Join(words, by)
}
