// See key.h.

#include "key.h"

static bool is_in(char c, const char *set) {
    for (; *set; set++) {
        if (c == *set) return true;
    }
    return false;
}

static bool is_visible(char c) {
    return c > ' ' && c <= '~';
}

// A string whose opening quote is at `*at`; `*at` is then past the closing one.
static bool quoted(const char **at, const char *end, og_text *text) {
    char *begin = og_room((size_t)(end - *at)), *to = begin;
    for (const char *c = *at + 1; c < end; c++) {
        if (*c == '"') {
            *text = (og_text){ begin, (size_t)(to - begin) };
            *at = c + 1;
            return true;
        }
        if (*c == '\\' && (++c == end || !is_in(*c, "\"\\"))) return false;
        if (*c != ' ' && !is_visible(*c)) return false;
        *to++ = *c;
    }
    return false;
}

static bool bare(const char **at, const char *end, og_text *text) {
    *text = (og_text){ *at, (size_t)(end - *at) };
    // What would make it a list, or end it for another reader, must be quoted.
    if (*at < end && **at == '(') return false;
    for (; *at < end; ++*at) {
        if (!is_visible(**at) || is_in(**at, "\",;")) return false;
    }
    return true;
}

static bool is_name(char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || is_in(c, "_-.*");
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_base64(char c) {
    return is_letter(c) || is_digit(c) || is_in(c, "+/");
}

static bool is_token(char c) {
    return is_letter(c) || is_digit(c) || is_in(c, "!#$%&'*+-.^_`|~:/");
}

// How many characters of a kind there are.
static size_t span(const char *at, const char *end, bool is(char)) {
    const char *begin = at;
    while (at < end && is(*at)) at++;
    return (size_t)(at - begin);
}

static bool number(const char **at, const char *end, bool decimals) {
    if (*at < end && **at == '-') ++*at;
    size_t digits = span(*at, end, is_digit);
    *at += digits;
    if (!decimals || *at == end || **at != '.') return digits >= 1 && digits <= 15;
    size_t more = span(++*at, end, is_digit);
    *at += more;
    return digits >= 1 && digits <= 12 && more >= 1 && more <= 3;
}

// Bytes in base64, whose opening colon is at `*at`.
static bool bytes(const char **at, const char *end) {
    size_t letters = span(++*at, end, is_base64);
    *at += letters;
    while (*at < end && **at == '=') ++*at;
    return *at < end && *(*at)++ == ':' && letters % 4 != 1;
}

// A string to be shown: percent signs stand for what isn't ASCII.
static bool shown(const char **at, const char *end) {
    const char *c = *at + 1;
    if (c == end || *c != '"') return false;
    for (c++; c < end && *c != '"'; c++) {
        if (*c == '%') {
            for (int i = 0; i < 2; i++) {
                if (++c == end || !(is_digit(*c) || (*c >= 'a' && *c <= 'f'))) return false;
            }
        } else if (*c != ' ' && !is_visible(*c)) {
            return false;
        }
    }
    *at = c + 1;
    return c < end;
}

// What a parameter may be; `*at` is then past it.
static bool value(const char **at, const char *end) {
    og_text text;
    if (*at == end) return false;
    switch (**at) {
    case '"': return quoted(at, end, &text);
    case ':': return bytes(at, end);
    case '%': return shown(at, end);
    case '@': ++*at; return number(at, end, false);
    case '?': *at += 2; return *at <= end && is_in((*at)[-1], "01");
    }
    if (!is_letter(**at) && **at != '*') return number(at, end, true);
    *at += span(*at, end, is_token);
    return true;
}

// `;name` or `;name=value`, any number of times.
static bool are_parameters(const char *at, const char *end) {
    while (at < end) {
        if (*at++ != ';') return false;
        while (at < end && *at == ' ') at++;
        size_t name = span(at, end, is_name);
        if (name == 0 || !(*at == '*' || is_letter(*at))) return false;
        at += name;
        if (at < end && *at == '=' && (at++, !value(&at, end))) return false;
    }
    return true;
}

bool key_of(og_text value, bool strict, og_text *key, og_text *fault) {
    const char *at = value.at, *end = value.at + value.length;
    while (at < end && is_in(*at, " \t")) at++;
    while (end > at && is_in(end[-1], " \t")) end--;
    if (at < end && *at == '"') {
        *fault = OG("it is no string as RFC 9651 has it");
        if (!quoted(&at, end, key)) return false;
    } else if (strict) {
        *fault = OG("it must be in double quotes");
        return false;
    } else {
        *fault = OG("it has a character that must stand in double quotes");
        if (!bare(&at, end, key)) return false;
    }
    *fault = OG("what follows it are no parameters");
    if (!are_parameters(at, end)) return false;
    *fault = OG("it is empty");
    return key->length > 0;
}
