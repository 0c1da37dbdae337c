package main

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// judge holds a key against the settings. It returns the key in its one form, and when it was first sent, where it tells.
func (s *Settings) judge(key string) (string, *uint32, error) {
	switch {
	case len(key) < s.min:
		return "", nil, fmt.Errorf("it is %d bytes long: send at least %d", len(key), s.min)
	case len(key) > s.max:
		return "", nil, fmt.Errorf("it is %d bytes long: send at most %d", len(key), s.max)
	case s.pattern != nil && !s.pattern.MatchString(key):
		return "", nil, errors.New("it doesn't match the pattern")
	case s.keyTime == "":
		return key, nil, nil
	}
	// The letters' case means nothing in either kind.
	read, form := uuidv7Millis, strings.ToLower
	if s.keyTime == "ulid" {
		read, form = ulidMillis, strings.ToUpper
	}
	millis, there := read(key)
	if !there {
		return "", nil, fmt.Errorf("it is no %s, which holds the time of its making: send one", s.keyTime)
	}
	if millis/1000 > math.MaxUint32 {
		return "", nil, errors.New("the time in it is past 2106")
	}
	seconds := uint32(millis / 1000)
	return form(key), &seconds, nil
}

var (
	uuidv7 = regexp.MustCompile(
		`^([0-9a-fA-F]{8})-([0-9a-fA-F]{4})-7[0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}$`)
	ulid = regexp.MustCompile(`^[0-7][0-9A-HJKMNP-TV-Za-hjkmnp-tv-z]{25}$`)
)

func uuidv7Millis(key string) (uint64, bool) {
	found := uuidv7.FindStringSubmatch(key)
	if found == nil {
		return 0, false
	}
	millis, err := strconv.ParseUint(found[1]+found[2], 16, 64)
	return millis, err == nil
}

// ulidMillis reads the first ten of a ULID's characters, in Crockford's base 32.
func ulidMillis(key string) (millis uint64, there bool) {
	if !ulid.MatchString(key) {
		return 0, false
	}
	for _, c := range strings.ToUpper(key[:10]) {
		millis = millis<<5 | uint64(strings.IndexRune("0123456789ABCDEFGHJKMNPQRSTVWXYZ", c))
	}
	return millis, true
}
