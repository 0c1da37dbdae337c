// See judge.h.

#include "judge.h"

static char upper(char c) {
    return c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
}

static char lower(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static og_text each(og_text text, char form(char)) {
    char *to = og_room(text.length);
    for (size_t i = 0; i < text.length; i++) to[i] = form(text.at[i]);
    return (og_text){ to, text.length };
}

// The digit of Crockford's base 32, whose first sixteen are those of hexadecimal; -1: it is none.
static int digit(char c) {
    static const char digits[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    for (int i = 0; digits[i]; i++) {
        if (digits[i] == upper(c)) return i;
    }
    return -1;
}

static bool uuidv7_millis(og_text key, uint64_t *millis) {
    if (key.length != 36) return false;
    for (size_t i = 0; i < 36; i++) {
        int d = digit(key.at[i]);
        bool hyphen = i == 8 || i == 13 || i == 18 || i == 23;
        if (hyphen ? key.at[i] != '-' : d < 0 || d > 15) return false;
        if ((i == 14 && d != 7) || (i == 19 && d >> 2 != 2)) return false;
        if (i < 13 && !hyphen) *millis = *millis << 4 | (uint64_t)d;
    }
    return true;
}

// The first ten of its characters are the time; 26 times 5 bits are two more than a ULID has.
static bool ulid_millis(og_text key, uint64_t *millis) {
    if (key.length != 26 || key.at[0] > '7') return false;
    for (size_t i = 0; i < 26; i++) {
        int d = digit(key.at[i]);
        if (d < 0) return false;
        if (i < 10) *millis = *millis << 5 | (uint64_t)d;
    }
    return true;
}

void judge(sent *sent, const settings *settings) {
    uint64_t millis = 0;
    if (sent->key.length < settings->min) {
        sent->fault = OG("it is too short: send a longer one");
    } else if (sent->key.length > settings->max) {
        sent->fault = OG("it is too long: send a shorter one");
    } else if (settings->has_pattern && !pattern_fits(&settings->pattern, sent->key)) {
        sent->fault = OG("it doesn't match the pattern");
    } else if (settings->key_time == UUIDV7 && !uuidv7_millis(sent->key, &millis)) {
        sent->fault = OG("it is no UUID of version 7, which holds the time of its making: send one");
    } else if (settings->key_time == ULID && !ulid_millis(sent->key, &millis)) {
        sent->fault = OG("it is no ULID, which holds the time of its making: send one");
    } else if (millis / 1000 > UINT32_MAX) {
        sent->fault = OG("the time in it is past 2106");
    } else {
        // The letters' case means nothing in either kind: each has one form.
        if (settings->key_time == UUIDV7) sent->key = each(sent->key, lower);
        if (settings->key_time == ULID) sent->key = each(sent->key, upper);
        sent->first = (og_option_number){ settings->key_time != NO_TIME, (uint32_t)(millis / 1000) };
    }
}
