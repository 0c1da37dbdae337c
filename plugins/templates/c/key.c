// See key.h.

#include "key.h"

enum { LONGEST = 255 };

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
    const char *begin = *at, *after = begin;
    while (after < end && *after != ';') after++;
    *at = after;
    while (after > begin && after[-1] == ' ') after--;
    *text = (og_text){ begin, (size_t)(after - begin) };
    // What would make it a list, or end it for another reader, must be quoted.
    if (begin < after && *begin == '(') return false;
    for (const char *c = begin; c < after; c++) {
        if (!is_visible(*c) || is_in(*c, "\",")) return false;
    }
    return true;
}

static bool is_name(char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || is_in(c, "_-.*");
}

// `;name` or `;name=value`, any number of times.
static bool are_parameters(const char *at, const char *end) {
    while (true) {
        while (at < end && *at == ' ') at++;
        if (at == end) return true;
        if (*at++ != ';') return false;
        while (at < end && *at == ' ') at++;
        if (at == end || !(*at == '*' || (*at >= 'a' && *at <= 'z'))) return false;
        while (at < end && is_name(*at)) at++;
        if (at == end || *at != '=') continue;
        og_text value;
        if (++at < end && *at == '"') {
            if (!quoted(&at, end, &value)) return false;
            continue;
        }
        const char *begin = at;
        while (at < end && is_visible(*at) && !is_in(*at, "\",;()")) at++;
        if (at == begin) return false;
    }
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
    *fault = key->length ? OG("it is longer than 255 bytes") : OG("it is empty");
    return key->length > 0 && key->length <= LONGEST;
}
