package main

import (
	"errors"
	"regexp"
	"strings"
)

const (
	quotedString = `"(?:[ !#-\[\]-~]|\\["\\])*"`
	// What else a parameter may be: a number, a date, a truth, a token, bytes, a string to be shown.
	parameterValue = quotedString + `|-?[0-9]{1,12}\.[0-9]{1,3}|@?-?[0-9]{1,15}|\?[01]` +
		"|[A-Za-z*][!#$%&'*+.^_`|~0-9A-Za-z:/-]*" +
		`|:(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2,3}=*)?:|%"(?:[ !#$&-~]|%[0-9a-f]{2})*"`
)

var (
	quotedKey = regexp.MustCompile(`^(` + quotedString + `)(.*)$`)
	// What would make it a list, or end it for another reader, must be quoted.
	bareKey    = regexp.MustCompile(`^([!#-')-+\--:<-~][!#-+\--:<-~]*)?$`)
	parameters = regexp.MustCompile(`^(?:; *[a-z*][a-z0-9_.*-]*(?:=(?:` + parameterValue + `))?)*$`)
	escapes    = strings.NewReplacer(`\"`, `"`, `\\`, `\`)
)

// parseKey reads the key in a header: a string of RFC 9651 or, unless strict, the same without its
// quotes. Parameters of a string are read and left out. An error is for the caller to read.
func parseKey(value string, strict bool) (string, error) {
	value = strings.Trim(value, " \t")
	var key, rest string
	if strings.HasPrefix(value, `"`) {
		found := quotedKey.FindStringSubmatch(value)
		if found == nil {
			return "", errors.New("it is no string as RFC 9651 has it")
		}
		key, rest = escapes.Replace(found[1][1:len(found[1])-1]), found[2]
	} else if strict {
		return "", errors.New("it must be in double quotes")
	} else {
		found := bareKey.FindStringSubmatch(value)
		if found == nil {
			return "", errors.New("it has a character that must stand in double quotes")
		}
		key = found[1]
	}
	switch {
	case !parameters.MatchString(rest):
		return "", errors.New("what follows it are no parameters")
	case key == "":
		return "", errors.New("it is empty")
	}
	return key, nil
}
