// See places.h.

#include "places.h"
#include "settings.h"

// The next character of a text that is UTF-8; `at` is then past it. 0: it isn't UTF-8.
static uint32_t character(const char **at, const char *end) {
    uint8_t lead = (uint8_t)*(*at)++;
    if (lead < 0x80) return lead;
    int more = lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : 3;
    if (lead < 0xc2 || lead > 0xf4 || end - *at < more) return 0;
    uint32_t point = lead & (0x3fu >> more);
    for (int i = 0; i < more; i++) {
        if ((**at & 0xc0) != 0x80) return 0;
        point = point << 6 | (*(*at)++ & 0x3fu);
    }
    // Overlong, a surrogate, or past the last character.
    if (more == 2 && (point < 0x800 || (point >= 0xd800 && point < 0xe000))) return 0;
    return more == 3 && (point < 0x10000 || point > 0x10ffff) ? 0 : point;
}

static bool of_text(og_text text, sent *sent) {
    sent->key = text;
    if (text.length == 0) sent->fault = OG("it is empty: send a key of your own for each operation, or leave it out");
    for (const char *at = text.at, *end = at + text.length; at < end;) {
        uint32_t c = character(&at, end);
        if (c < 0x20 || (c >= 0x7f && c < 0xa0)) sent->fault = OG("it holds a control character: send it without");
    }
    return true;
}

// --- the query ------------------------------------------------------------------------------------

static int hex(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// As forms are decoded. A percent sign that encodes nothing is itself.
static og_text decoded(const char *at, const char *end) {
    char *begin = og_room((size_t)(end - at)), *to = begin;
    for (; at < end; at++) {
        if (*at == '%' && end - at > 2 && hex(at[1]) >= 0 && hex(at[2]) >= 0) {
            *to++ = (char)(hex(at[1]) << 4 | hex(at[2]));
            at += 2;
        } else {
            *to++ = *at == '+' ? ' ' : *at;
        }
    }
    return (og_text){ begin, (size_t)(to - begin) };
}

static bool is_utf8(og_text text) {
    for (const char *at = text.at, *end = at + text.length; at < end;) {
        bool zero = *at == 0;
        uint32_t c = character(&at, end);
        // Whoever sends a replacement character has lost what it stands for.
        if ((c == 0 && !zero) || c == 0xfffd) return false;
    }
    return true;
}

static const char *find(const char *at, const char *end, char c) {
    while (at < end && *at != c) at++;
    return at;
}

bool key_in_query(og_text query, og_text name, sent *sent) {
    const char *at = query.at, *end = at + query.length;
    bool there = false;
    for (const char *after; at < end; at = after + 1) {
        after = find(at, end, '&');
        const char *equals = find(at, after, '=');
        if (at == after || !og_equal(decoded(at, equals), name)) continue;
        if (there) {
            sent->fault = TWICE;
            return true;
        }
        there = true;
        sent->key = decoded(equals < after ? equals + 1 : after, after);
    }
    if (!there) return false;
    if (is_utf8(sent->key)) return of_text(sent->key, sent);
    sent->fault = OG("it isn't UTF-8: send letters, digits and hyphens");
    return true;
}

// --- the body -------------------------------------------------------------------------------------

static og_text trimmed(og_text text) {
    const char *at = text.at, *end = at + text.length;
    while (at < end && (*at == ' ' || *at == '\t')) at++;
    while (end > at && (end[-1] == ' ' || end[-1] == '\t')) end--;
    return (og_text){ at, (size_t)(end - at) };
}

// Whether a body that can't be read is at fault. Others merely are no documents and hold no key.
static bool is_document(const og_operation *operation) {
    static const og_text documents[] = {
        OG(""), OG("text/plain"), OG("application/x-www-form-urlencoded"), OG("multipart/form-data"),
    };
    og_text type;
    if (!og_field_value(operation, OG("content-type"), 0, &type)) return true;
    type = og_copy(trimmed((og_text){ type.at, (size_t)(find(type.at, type.at + type.length, ';') - type.at) }));
    for (char *c = (char *)type.at; c < type.at + type.length; c++) {
        if (*c >= 'A' && *c <= 'Z') *c += 'a' - 'A';
    }
    for (size_t i = 0; i < sizeof documents / sizeof *documents; i++) {
        if (og_equal(type, documents[i])) return true;
    }
    return type.length >= 4 && og_equal((og_text){ type.at + type.length - 4, 4 }, OG("json"));
}

bool key_in_body(const og_operation *operation, size_t pointer, sent *sent) {
    if (operation->payload == OG_OVERSIZE) {
        sent->fault = OG("the body is too large to be read for a key: send a smaller one");
        return true;
    }
    if (operation->payload == OG_MALFORMED && is_document(operation)) {
        og_text why = operation->bytes;
        sent->fault = JOINED(OG("the body can't be read for a key ("), why, OG("): send a well-formed one"));
        return true;
    }
    if (operation->payload != OG_SELECTED) return false;
    const og_found *found = &operation->selected.at[pointer];
    if (found->tag == OG_FOUND_TEXT) return of_text(found->text, sent);
    if (found->tag == OG_FOUND_NOTHING || og_equal(found->text, OG("null"))) return false;
    // A number, in canonical form, is as good as a string.
    char c = found->text.at[0];
    sent->key = found->text;
    if (c != '-' && (c < '0' || c > '9')) sent->fault = OG("it is neither a string nor a number: send a string");
    return true;
}
