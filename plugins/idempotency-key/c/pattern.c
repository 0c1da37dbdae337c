// See pattern.h. A pattern becomes steps that are taken for all ways at once (Thompson's way), so that
// no key takes long.

#include "pattern.h"

enum { MOST_STEPS = 4096, MOST_RANGES = 4096, DEEPEST = 50, LAST = 0x10ffff };

typedef struct {
    const char *at, *end;
    pattern *to;
    int depth;
} reader;

static bool alternatives(reader *in);

// The character here; `at` is then past it.
static uint32_t character(const char **at) {
    uint8_t lead = (uint8_t)*(*at)++;
    if (lead < 0x80) return lead;
    int more = lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : 3;
    uint32_t point = lead & (0x3fu >> more);
    while (more--) point = point << 6 | (*(*at)++ & 0x3fu);
    return point;
}

static bool is_in(char c, const char *set) {
    for (; *set; set++) {
        if (c == *set) return true;
    }
    return false;
}

static bool is_here(const reader *in, char c) {
    return in->at < in->end && *in->at == c;
}

static bool skip(reader *in, char c) {
    if (!is_here(in, c)) return false;
    in->at++;
    return true;
}

// --- reading --------------------------------------------------------------------------------------

static bool put(reader *in, step step) {
    if (in->to->count == MOST_STEPS) return false;
    in->to->steps[in->to->count++] = step;
    return true;
}

// Puts a step before those from `here` on.
static bool insert(reader *in, size_t here, step step) {
    if (!put(in, step)) return false;
    for (size_t i = in->to->count - 1; i > here; i--) in->to->steps[i] = in->to->steps[i - 1];
    in->to->steps[here] = step;
    return true;
}

static bool range(reader *in, uint32_t low, uint32_t high) {
    if (in->to->ranges_count == MOST_RANGES || low > high) return false;
    uint32_t *to = in->to->ranges[in->to->ranges_count++];
    to[0] = low;
    to[1] = high;
    return true;
}

// A step that takes a character of the ranges from `first` on.
static bool one_of(reader *in, size_t first, bool not) {
    return put(in, (step){ STEP_CLASS, not, (int16_t)first, (int16_t)(in->to->ranges_count - first) });
}

// \d, \D, \w or \W, whose letter is here. False: it is another one.
static bool kind(reader *in) {
    if (in->at == in->end) return false;
    switch (*in->at++) {
    case 'd': return range(in, '0', '9');
    case 'D': return range(in, 0, '0' - 1) && range(in, '9' + 1, LAST);
    case 'w': return range(in, '0', '9') && range(in, 'A', 'Z') && range(in, '_', '_') && range(in, 'a', 'z');
    case 'W':
        return range(in, 0, '0' - 1) && range(in, '9' + 1, 'A' - 1) && range(in, 'Z' + 1, '_' - 1)
            && range(in, '`', '`') && range(in, 'z' + 1, LAST);
    }
    in->at--;
    return false;
}

// A character of a class. False: it must be escaped, or there is none.
static bool member(reader *in, uint32_t *c) {
    bool escaped = skip(in, '\\');
    if (in->at == in->end || is_in(*in->at, escaped ? "" : "[]^-")) return false;
    if (escaped && !is_in(*in->at, "^$\\.*+?()[]{}|/-")) return false;
    *c = character(&in->at);
    return true;
}

static bool class(reader *in) {
    size_t first = in->to->ranges_count;
    bool not = skip(in, '^');
    if (skip(in, '-') && !range(in, '-', '-')) return false;
    do {
        uint32_t low, high;
        const char *here = in->at;
        if (skip(in, '\\') && kind(in)) continue;
        in->at = here;
        if (!member(in, &low)) return false;
        high = low;
        here = in->at;
        if (skip(in, '-')) {
            if (is_here(in, ']')) in->at = here;
            else if (!member(in, &high)) return false;
        }
        if (!range(in, low, high)) return false;
    } while (in->at < in->end && !is_in(*in->at, "]-"));
    if (skip(in, '-') && !range(in, '-', '-')) return false;
    return skip(in, ']') && one_of(in, first, not);
}

static bool group(reader *in) {
    if (skip(in, '?') && !skip(in, ':')) return false;
    return ++in->depth <= DEEPEST && alternatives(in) && skip(in, ')') && in->depth--;
}

static bool atom(reader *in) {
    size_t first = in->to->ranges_count;
    if (skip(in, '(')) return group(in);
    if (skip(in, '[')) return class(in);
    if (skip(in, '.')) return one_of(in, first, true);
    if (skip(in, '\\')) {
        if (kind(in)) return one_of(in, first, false);
        if (in->at == in->end || !is_in(*in->at, "^$\\.*+?()[]{}|/")) return false;
    } else if (is_in(*in->at, "*+?{}]")) {
        return false;
    }
    uint32_t c = character(&in->at);
    return range(in, c, c) && one_of(in, first, false);
}

static bool number(reader *in, int *number) {
    const char *begin = in->at;
    for (*number = 0; in->at < in->end && *in->at >= '0' && *in->at <= '9' && in->at - begin < 4; in->at++) {
        *number = *number * 10 + (*in->at - '0');
    }
    return in->at > begin && in->at - begin <= 3;
}

// The count that is here. False: it is none; true with a least of -1: there is none.
static bool count(reader *in, int *least, int *most) {
    *least = -1;
    if (in->at == in->end || !is_in(*in->at, "*+?{")) return true;
    char c = *in->at++;
    *least = c == '+';
    *most = c == '?' ? 1 : -1;
    if (c == '{') {
        if (!number(in, least)) return false;
        *most = *least;
        if (skip(in, ',')) {
            *most = -1;
            if (!is_here(in, '}') && (!number(in, most) || *most < *least)) return false;
        }
        if (!skip(in, '}')) return false;
    }
    // Which way is tried first doesn't matter where the whole must fit.
    skip(in, '?');
    return true;
}

// Puts the steps of `one` again, which lie where they may be overwritten.
static bool again(reader *in, const step *one, size_t length) {
    for (size_t i = 0; i < length; i++) {
        if (!put(in, one[i])) return false;
    }
    return true;
}

static bool counted(reader *in) {
    size_t here = in->to->count;
    int least, most;
    if (!atom(in) || !count(in, &least, &most)) return false;
    if (least < 0) return true;
    size_t length = in->to->count - here;
    step *one = og_room(length * sizeof *one);
    for (size_t i = 0; i < length; i++) one[i] = in->to->steps[here + i];
    in->to->count = here;
    for (int i = 0; i < least; i++) {
        if (!again(in, one, length)) return false;
    }
    for (int i = least; i < most; i++) {
        if (!put(in, (step){ STEP_SPLIT, false, 1, (int16_t)(length + 1) }) || !again(in, one, length)) return false;
    }
    if (most >= 0) return true;
    return put(in, (step){ STEP_SPLIT, false, 1, (int16_t)(length + 2) }) && again(in, one, length)
        && put(in, (step){ STEP_JUMP, false, (int16_t)-(int)(length + 1), 0 });
}

static bool sequence(reader *in) {
    while (in->at < in->end && !is_in(*in->at, "|)")) {
        bool fine = skip(in, '^') ? put(in, (step){ .op = STEP_BEGIN })
            : skip(in, '$')       ? put(in, (step){ .op = STEP_END })
                                  : counted(in);
        if (!fine) return false;
    }
    return true;
}

static bool alternatives(reader *in) {
    size_t here = in->to->count;
    if (!sequence(in)) return false;
    while (skip(in, '|')) {
        size_t length = in->to->count - here;
        if (!insert(in, here, (step){ STEP_SPLIT, false, 1, (int16_t)(length + 2) })) return false;
        size_t jump = in->to->count;
        if (!put(in, (step){ .op = STEP_JUMP }) || !sequence(in)) return false;
        in->to->steps[jump].first = (int16_t)(in->to->count - jump);
    }
    return true;
}

// Doubled, these are operators on classes for some.
static bool has_doubled(og_text text) {
    for (size_t i = 1; i < text.length; i++) {
        if (text.at[i] == text.at[i - 1] && is_in(text.at[i], "&~")) return true;
    }
    return false;
}

bool pattern_read(og_text text, pattern *pattern, og_text *fault) {
    pattern->steps = og_room(MOST_STEPS * sizeof *pattern->steps);
    pattern->ranges = og_room(MOST_RANGES * sizeof *pattern->ranges);
    pattern->count = pattern->ranges_count = 0;
    reader in = { text.at, text.at + text.length, pattern, 0 };
    if (alternatives(&in) && in.at == in.end && !has_doubled(text)) return true;
    og_text read = { text.at, (size_t)(in.at - text.at) };
    *fault = og_joined(OG("`pattern` isn't understood, or too large, past "), read);
    return false;
}

// --- matching -------------------------------------------------------------------------------------

// Steps that wait for a character, or the end, which is past the last step.
typedef struct { uint16_t *at; size_t count; } places;

typedef struct {
    const pattern *pattern;
    // Where a step was reached last: each counts once at a place.
    uint32_t *reached;
    uint16_t *open;
} walk;

static void follow(walk *walk, size_t from, uint32_t at, bool last, places *to) {
    size_t open = 0;
    walk->open[open++] = (uint16_t)from;
    while (open > 0) {
        uint16_t here = walk->open[--open];
        if (walk->reached[here] == at + 1) continue;
        walk->reached[here] = at + 1;
        const step *step = &walk->pattern->steps[here];
        if (here == walk->pattern->count || step->op == STEP_CLASS) {
            to->at[to->count++] = here;
            continue;
        }
        if (step->op == STEP_SPLIT) walk->open[open++] = (uint16_t)(here + step->second);
        if (step->op == STEP_SPLIT || step->op == STEP_JUMP) walk->open[open++] = (uint16_t)(here + step->first);
        if ((step->op == STEP_BEGIN && at == 0) || (step->op == STEP_END && last)) walk->open[open++] = here + 1;
    }
}

static bool takes(const pattern *pattern, const step *step, uint32_t c) {
    for (int i = 0; i < step->second; i++) {
        const uint32_t *range = pattern->ranges[step->first + i];
        if (c >= range[0] && c <= range[1]) return !step->not;
    }
    return step->not;
}

bool pattern_fits(const pattern *pattern, og_text key) {
    size_t most = pattern->count + 1;
    walk walk = { pattern, og_room(most * sizeof(uint32_t)), og_room((most + 1) * sizeof(uint16_t)) };
    places now = { og_room(most * sizeof(uint16_t)), 0 }, then = { og_room(most * sizeof(uint16_t)), 0 };
    for (size_t i = 0; i < most; i++) walk.reached[i] = 0;
    const char *at = key.at, *end = at + key.length;
    follow(&walk, 0, 0, at == end, &now);
    while (at < end) {
        uint32_t c = character(&at);
        then.count = 0;
        for (size_t i = 0; i < now.count; i++) {
            bool fits = now.at[i] < pattern->count && takes(pattern, &pattern->steps[now.at[i]], c);
            if (fits) follow(&walk, (size_t)now.at[i] + 1, (uint32_t)(at - key.at), at == end, &then);
        }
        places swapped = now;
        now = then;
        then = swapped;
    }
    for (size_t i = 0; i < now.count; i++) {
        if (now.at[i] == pattern->count) return true;
    }
    return false;
}
