package main

import (
	"errors"
	"regexp"
	"strings"
)

const longest = 255

var (
	// A string of RFC 9651, and what visible characters may stand without quotes.
	quotedKey = regexp.MustCompile(`^"((?:[ !#-\[\]-~]|\\["\\])*)"(.*)$`)
	bareKey   = regexp.MustCompile(`^([!#-')-+\--:<-~][!#-+\--:<-~]*)? *(;.*)?$`)
	// `;name` or `;name=value`, any number of times.
	parameters = regexp.MustCompile(`^( *; *[a-z*][a-z0-9_.*-]*(=("([ !#-\[\]-~]|\\["\\])*"|[!#-'*+\--:<-~]+))?)* *$`)
	escapes    = strings.NewReplacer(`\"`, `"`, `\\`, `\`)
)

// parseKey reads the key in a header: a string of RFC 9651 or, unless strict, the same without its
// quotes. Parameters are read and left out. An error is for the caller to read.
func parseKey(value string, strict bool) (string, error) {
	value = strings.Trim(value, " \t")
	var key, rest string
	if strings.HasPrefix(value, `"`) {
		found := quotedKey.FindStringSubmatch(value)
		if found == nil {
			return "", errors.New("it is no string as RFC 9651 has it")
		}
		key, rest = escapes.Replace(found[1]), found[2]
	} else if strict {
		return "", errors.New("it must be in double quotes")
	} else {
		found := bareKey.FindStringSubmatch(value)
		if found == nil {
			return "", errors.New("it has a character that must stand in double quotes")
		}
		key, rest = found[1], found[2]
	}
	switch {
	case !parameters.MatchString(rest):
		return "", errors.New("what follows it are no parameters")
	case key == "":
		return "", errors.New("it is empty")
	case len(key) > longest:
		return "", errors.New("it is longer than 255 bytes")
	}
	return key, nil
}
