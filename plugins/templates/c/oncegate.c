// See oncegate.h.

#include "oncegate.h"

#define EXPORT(name) __attribute__((export_name(name)))
#define AT(type, member, offset) _Static_assert(offsetof(type, member) == (offset), #type "." #member)
#define SIZE(type, bytes) _Static_assert(sizeof(type) == (bytes), #type)

// The canonical ABI's layout of policy.wit.
SIZE(og_text, 8);
SIZE(og_field, 16);
SIZE(og_part, 20);
AT(og_part, text, 4);
SIZE(og_fingerprint, 20);
SIZE(og_option_number, 8);
SIZE(og_option_text, 12);
AT(og_guard, fingerprint, 8);
AT(og_guard, while_running, 28);
AT(og_guard, when_unknown, 29);
AT(og_guard, retention_seconds, 32);
AT(og_guard, first_sent, 48);
AT(og_guard, forward, 56);
AT(og_guard, memo, 64);
AT(og_guard, labels, 76);
SIZE(og_guard, 92);
AT(og_refusal, code, 4);
SIZE(og_refusal, 28);
AT(og_decision, verdict, 4);
AT(og_decision, verdict.guard, 8);
SIZE(og_decision, 100);
SIZE(og_payload_want, 12);
SIZE(og_status_rule, 6);
AT(og_plan, request_fields, 16);
AT(og_plan, request_payload, 24);
AT(og_plan, response_fields, 36);
AT(og_plan, outcomes, 56);
SIZE(og_planned, 76);
SIZE(og_found, 12);
SIZE(og_operation, 28);
AT(og_receipt, principal, 40);
AT(og_receipt, attempts, 60);
SIZE(og_receipt, 80);
AT(og_reply, payload, 20);
AT(og_reply, bytes, 24);
AT(og_reply, complete, 32);
SIZE(og_reply, 36);
AT(og_settled, settlement.memo, 12);
AT(og_settled, settlement.retention_seconds, 24);
SIZE(og_settled, 32);
AT(og_outbound, body, 24);
AT(og_asked, question, 8);
SIZE(og_asked, 44);
AT(og_read, finding.happened, 8);
SIZE(og_read, 44);
AT(og_presented, changes.body, 24);
SIZE(og_presented, 36);
AT(og_problem, operation_id, 20);
AT(og_problem, outcome, 32);
AT(og_problem, retryable, 34);
AT(og_problem, retry_after_seconds, 36);
AT(og_problem, first_status, 44);
AT(og_problem, first_location, 48);
AT(og_explained, wording.fields, 12);
SIZE(og_explained, 28);

// --- memory ---------------------------------------------------------------------------------------

// Room comes in pieces: of the module's own malloc where it has one, else of memory.grow. What lies behind
// __heap_base when the module starts is left alone: C++, Zig and C libraries take it for theirs.
extern void *malloc(size_t bytes) __attribute__((weak));

typedef struct og_piece {
    struct og_piece *next;
    uintptr_t end;
} og_piece;

// Where room goes on: in this piece, from there. `kept` is where configure left off.
static struct { og_piece *piece; uintptr_t from; } room, kept;
static og_piece *first;

// Takes so much more memory. It is a piece after `last`, or makes `last` longer where it follows it.
static og_piece *more(size_t bytes, og_piece *last) {
    size_t pages = (bytes + sizeof(og_piece) + 7 + 65535) / 65536;
    size_t before = malloc ? 0 : __builtin_wasm_memory_grow(0, pages);
    uintptr_t at = malloc ? (uintptr_t)malloc(pages * 65536) : before * 65536;
    if (at == 0 || before == (size_t)-1) __builtin_trap();
    if (last && last->end == at && !malloc) {
        last->end += pages * 65536;
        return last;
    }
    og_piece **place = last ? &last->next : &first, *piece = (og_piece *)at;
    *piece = (og_piece){ *place, at + pages * 65536 };
    return *place = piece;
}

void *og_room(size_t bytes) {
    // More than this is no module's, and would wrap around below.
    if (bytes > 0x7fff0000) __builtin_trap();
    while (true) {
        uintptr_t at = (room.from + 7) & ~(uintptr_t)7;
        if (room.piece && at <= room.piece->end && bytes <= room.piece->end - at) {
            room.from = at + bytes;
            return (void *)at;
        }
        og_piece *next = room.piece ? room.piece->next : first;
        if (!next || bytes > next->end - (uintptr_t)(next + 1)) next = more(bytes, room.piece);
        if (next != room.piece) room.from = (uintptr_t)(next + 1);
        room.piece = next;
    }
}

// Without a C library these are ours; a compiler calls them of itself.
__attribute__((weak)) void *memcpy(void *to, const void *from, size_t bytes) {
    unsigned char *t = to;
    const unsigned char *f = from;
    while (bytes--) *t++ = *f++;
    return to;
}

__attribute__((weak)) void *memset(void *to, int value, size_t bytes) {
    unsigned char *t = to;
    while (bytes--) *t++ = (unsigned char)value;
    return to;
}

// --- what the host calls --------------------------------------------------------------------------

EXPORT("cabi_realloc") void *og_realloc(void *old, size_t old_size, size_t align, size_t size) {
    (void)align;
    void *at = og_room(size);
    if (old_size) memcpy(at, old, old_size < size ? old_size : size);
    return at;
}

EXPORT("configure") og_planned *og_export_configure(const char *settings, size_t length) {
    og_planned *planned = og_room(sizeof *planned);
    *planned = og_configure((og_text){ settings, length });
    return planned;
}

// What configure took stays.
EXPORT("cabi_post_configure") void og_post_configure(og_planned *planned) {
    (void)planned;
    kept = room;
}

EXPORT("decide") og_decision *og_export_decide(
    const char *method, size_t method_length, og_field *fields, size_t count,
    uint32_t payload, void *first, size_t second
) {
    og_operation operation = { .method = { method, method_length }, .fields = { fields, count } };
    operation.payload = (uint8_t)payload;
    operation.selected.at = first;
    operation.selected.count = second;
    og_decision *decision = og_room(sizeof *decision);
    *decision = og_decide(&operation);
    return decision;
}

// After each hook but configure.
static void release(void) {
    room = kept;
}

EXPORT("cabi_post_decide") void og_post_decide(og_decision *decision) {
    (void)decision;
    release();
}

// The other hooks get the address of all their arguments, one after the other.

#ifdef OG_OUTCOME
EXPORT("settle") og_settled *og_export_settle(const void *arguments) {
    const struct { og_receipt receipt; og_reply reply; } *all = arguments;
    og_settled *settled = og_room(sizeof *settled);
    *settled = og_settle(&all->receipt, &all->reply);
    return settled;
}

EXPORT("cabi_post_settle") void og_post_settle(og_settled *settled) {
    (void)settled;
    release();
}
#endif

#ifdef OG_RESOLUTION
EXPORT("question") og_asked *og_export_question(const og_receipt *receipt) {
    og_asked *asked = og_room(sizeof *asked);
    *asked = og_question(receipt);
    return asked;
}

EXPORT("cabi_post_question") void og_post_question(og_asked *asked) {
    (void)asked;
    release();
}

EXPORT("reading") og_read *og_export_reading(const void *arguments) {
    const struct { og_receipt receipt; og_outbound asked; og_reply answer; } *all = arguments;
    og_read *read = og_room(sizeof *read);
    *read = og_reading(&all->receipt, &all->asked, &all->answer);
    return read;
}

EXPORT("cabi_post_reading") void og_post_reading(og_read *read) {
    (void)read;
    release();
}
#endif

#ifdef OG_PRESENTATION
EXPORT("present") og_presented *og_export_present(const void *arguments) {
    const struct { og_receipt receipt; og_operation operation; og_reply reply; } *all = arguments;
    og_presented *presented = og_room(sizeof *presented);
    *presented = og_present(&all->receipt, &all->operation, &all->reply);
    return presented;
}

EXPORT("cabi_post_present") void og_post_present(og_presented *presented) {
    (void)presented;
    release();
}

EXPORT("explain") og_explained *og_export_explain(const void *arguments) {
    const struct { og_operation operation; og_problem problem; } *all = arguments;
    og_explained *explained = og_room(sizeof *explained);
    *explained = og_explain(&all->operation, &all->problem);
    return explained;
}

EXPORT("cabi_post_explain") void og_post_explain(og_explained *explained) {
    (void)explained;
    release();
}
#endif

__attribute__((import_module("oncegate:policy/log@0.1.0"), import_name("emit")))
void og_emit(uint32_t level, const char *message, size_t length);

void og_log(uint32_t level, og_text message) {
    og_emit(level, message.at, message.length);
}

__attribute__((import_module("oncegate:policy/digest@0.1.0"), import_name("sha256")))
void og_digest(const char *data, size_t length, og_text *digest);

og_text og_sha256(og_text text) {
    og_text digest;
    og_digest(text.at, text.length, &digest);
    char *hex = og_room(2 * digest.length);
    for (size_t i = 0; i < digest.length; i++) {
        hex[2 * i] = "0123456789abcdef"[(uint8_t)digest.at[i] >> 4];
        hex[2 * i + 1] = "0123456789abcdef"[digest.at[i] & 15];
    }
    return (og_text){ hex, 2 * digest.length };
}

// --- texts ----------------------------------------------------------------------------------------

og_text og_copy(og_text text) {
    char *at = og_room(text.length);
    memcpy(at, text.at, text.length);
    return (og_text){ at, text.length };
}

og_text og_joined(og_text first, og_text second) {
    char *at = og_room(first.length + second.length);
    memcpy(at, first.at, first.length);
    memcpy(at + first.length, second.at, second.length);
    return (og_text){ at, first.length + second.length };
}

bool og_equal(og_text one, og_text other) {
    if (one.length != other.length) return false;
    for (size_t i = 0; i < one.length; i++) {
        if (one.at[i] != other.at[i]) return false;
    }
    return true;
}

// --- requests -------------------------------------------------------------------------------------

static bool value_of(const og_fields *fields, og_text name, size_t which, og_text *value) {
    for (size_t i = 0; i < fields->count; i++) {
        const og_field *field = &fields->at[i];
        if (og_equal(field->name, name) && which-- == 0) {
            *value = field->value;
            return true;
        }
    }
    return false;
}

static bool text_of(uint8_t payload, const og_found *at, size_t count, size_t pointer, og_text *text) {
    if (payload != OG_SELECTED || pointer >= count || at[pointer].tag != OG_FOUND_TEXT) return false;
    *text = at[pointer].text;
    return true;
}

bool og_field_value(const og_operation *operation, og_text name, size_t which, og_text *value) {
    return value_of(&operation->fields, name, which, value);
}

bool og_text_at(const og_operation *operation, size_t pointer, og_text *text) {
    return text_of(operation->payload, operation->selected.at, operation->selected.count, pointer, text);
}

bool og_reply_field(const og_reply *reply, og_text name, size_t which, og_text *value) {
    return value_of(&reply->fields, name, which, value);
}

bool og_reply_text_at(const og_reply *reply, size_t pointer, og_text *text) {
    return text_of(reply->payload, reply->selected.at, reply->selected.count, pointer, text);
}

og_text og_reply_body(const og_reply *reply) {
    return reply->payload == OG_ALL ? reply->bytes : OG("");
}

// --- answers --------------------------------------------------------------------------------------

og_plan og_plan_of(og_text key_schema) {
    return (og_plan){ .key_schema = key_schema };
}

og_planned og_planned_as(og_plan plan) {
    return (og_planned){ .failed = false, .plan = plan };
}

og_planned og_cannot_plan(og_text why) {
    return (og_planned){ .failed = true, .why = why };
}

og_part og_text_part(og_text text) {
    return (og_part){ .tag = OG_PART_TEXT, .text = text };
}

og_part og_of(uint8_t attribute) {
    return (og_part){ .tag = OG_PART_OF, .of = attribute };
}

og_guard og_guard_of(const og_part *key, size_t count) {
    og_part *parts = og_room(count * sizeof *parts);
    memcpy(parts, key, count * sizeof *parts);
    return (og_guard){ .key = { parts, count } };
}

og_decision og_guarded(og_guard guard) {
    return (og_decision){ .failed = false, .verdict = { .tag = OG_GUARD, .guard = guard } };
}

og_decision og_bypassed(og_text reason) {
    return (og_decision){ .failed = false, .verdict = { .tag = OG_BYPASS, .bypass = reason } };
}

og_decision og_refused(og_text code, og_text detail) {
    og_refusal refusal = { .status = 400, .code = code, .detail = detail };
    return (og_decision){ .failed = false, .verdict = { .tag = OG_REFUSE, .refuse = refusal } };
}

og_decision og_failed(og_text why) {
    return (og_decision){ .failed = true, .why = why };
}

og_settled og_settled_as(uint8_t disposition) {
    return (og_settled){ .failed = false, .some = true, .settlement = { .disposition = disposition } };
}

og_settled og_not_settled(void) {
    return (og_settled){ .failed = false, .some = false };
}

og_settled og_settle_failed(og_text why) {
    return (og_settled){ .failed = true, .why = why };
}

static og_outbound get(og_text path) {
    return (og_outbound){ .method = OG("GET"), .path = path };
}

og_asked og_ask(og_text path) {
    return (og_asked){ .failed = false, .some = true, .question = get(path) };
}

og_asked og_ask_nothing(void) {
    return (og_asked){ .failed = false, .some = false };
}

og_asked og_question_failed(og_text why) {
    return (og_asked){ .failed = true, .why = why };
}

og_read og_found_out(uint8_t finding) {
    return (og_read){ .failed = false, .finding = { .tag = finding } };
}

og_read og_ask_next(og_text path) {
    return (og_read){ .failed = false, .finding = { .tag = OG_ASK, .ask = get(path) } };
}

// A list of one field.
static og_fields of_type(og_text content_type) {
    og_field *field = og_room(sizeof *field);
    *field = (og_field){ OG("content-type"), content_type };
    return (og_fields){ field, 1 };
}

og_read og_happened(uint16_t status, og_text content_type, og_text body) {
    og_reply reply = { .status = status, .fields = of_type(content_type), .payload = OG_ALL, .complete = true };
    reply.bytes = body;
    return (og_read){ .failed = false, .finding = { .tag = OG_HAPPENED, .happened = reply } };
}

og_read og_reading_failed(og_text why) {
    return (og_read){ .failed = true, .why = why };
}

og_presented og_as_kept(void) {
    return (og_presented){ .failed = false, .some = false };
}

og_presented og_with_body(og_text body) {
    return (og_presented){ .failed = false, .some = true, .changes = { .body = { true, body } } };
}

og_presented og_present_failed(og_text why) {
    return (og_presented){ .failed = true, .why = why };
}

og_explained og_not_explained(void) {
    return (og_explained){ .failed = false, .some = false };
}

og_explained og_worded(uint16_t status, og_text content_type, og_text body) {
    og_wording wording = { .status = status, .fields = of_type(content_type), .body = body };
    return (og_explained){ .failed = false, .some = true, .wording = wording };
}

og_explained og_explain_failed(og_text why) {
    return (og_explained){ .failed = true, .why = why };
}

// --- settings: as much of JSON as they need -------------------------------------------------------

static const char *past_spaces(const char *at, const char *end) {
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r')) at++;
    return at;
}

// Past a value; null where there is none.
static const char *past_value(const char *at, const char *end, int depth) {
    at = past_spaces(at, end);
    if (at == end || depth > 32) return NULL;
    if (*at == '"') {
        for (at++; at < end && *at != '"'; at++) {
            if (*at == '\\') at++;
        }
        return at < end ? at + 1 : NULL;
    }
    if (*at == '[' || *at == '{') {
        char close = *at == '[' ? ']' : '}';
        at = past_spaces(at + 1, end);
        if (at < end && *at == close) return at + 1;
        while (true) {
            if (close == '}') {
                at = past_value(at, end, depth + 1);
                at = at ? past_spaces(at, end) : NULL;
                if (at == NULL || at == end || *at++ != ':') return NULL;
            }
            at = past_value(at, end, depth + 1);
            at = at ? past_spaces(at, end) : NULL;
            if (at == NULL || at == end) return NULL;
            if (*at == close) return at + 1;
            if (*at++ != ',') return NULL;
        }
    }
    const char *begin = at;
    while (at < end && *at != ',' && *at != ']' && *at != '}' && *at != ' ' && *at != '\n') at++;
    return at > begin ? at : NULL;
}

// Member or element `which` of an object or array that begins at `json`.
static bool nth(og_text json, char open, size_t which, og_text *name, og_text *value) {
    const char *end = json.at + json.length, *at = past_spaces(json.at, end);
    if (at == end || *at != open || past_value(at, end, 0) == NULL) return false;
    at = past_spaces(at + 1, end);
    if (*at == (open == '[' ? ']' : '}')) return false;
    // The whole was walked through once: what is looked for now is there.
    while (true) {
        at = past_spaces(at, end);
        if (open == '{') {
            const char *after = past_value(at, end, 0);
            *name = (og_text){ at, (size_t)(after - at) };
            at = past_spaces(past_spaces(after, end) + 1, end);
        }
        const char *after = past_value(at, end, 0);
        *value = (og_text){ at, (size_t)(after - at) };
        if (which-- == 0) return true;
        at = past_spaces(after, end);
        if (*at != ',') return false;
        at++;
    }
}

bool og_json_element(og_text json, size_t which, og_text *element) {
    og_text name;
    return nth(json, '[', which, &name, element);
}

bool og_setting_name(og_text settings, size_t which, og_text *name, bool *fault) {
    og_text json, value;
    const char *end = settings.at + settings.length, *begin = past_spaces(settings.at, end);
    const char *after = past_value(begin, end, 0);
    *fault = begin == end || *begin != '{' || after == NULL || past_spaces(after, end) != end;
    if (*fault || !nth(settings, '{', which, &json, &value)) return false;
    *fault = !og_json_text(json, name);
    return !*fault;
}

bool og_setting(og_text settings, og_text name, og_text *json) {
    og_text found, text;
    for (size_t i = 0; nth(settings, '{', i, &found, json); i++) {
        if (og_json_text(found, &text) && og_equal(text, name)) return true;
    }
    return false;
}

static int hex(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

// Four digits of an escape; -1 where they aren't.
static int32_t unit(const char *at, const char *end) {
    int32_t unit = 0;
    if (end - at < 4) return -1;
    for (int i = 0; i < 4; i++) {
        if (hex(at[i]) < 0) return -1;
        unit = unit * 16 + hex(at[i]);
    }
    return unit;
}

static char *put_utf8(char *to, uint32_t c) {
    if (c < 0x80) {
        *to++ = (char)c;
        return to;
    }
    int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    static const uint8_t lead[] = { 0, 0xc0, 0xe0, 0xf0 };
    *to++ = (char)(lead[more] | c >> (6 * more));
    while (more--) *to++ = (char)(0x80 | (c >> (6 * more) & 0x3f));
    return to;
}

bool og_json_text(og_text json, og_text *text) {
    const char *at = json.at, *end = json.at + json.length;
    if (json.length < 2 || *at != '"' || end[-1] != '"') return false;
    char *begin = og_room(json.length), *to = begin;
    for (at++, end--; at < end; at++) {
        if (*at != '\\') {
            *to++ = *at;
            continue;
        }
        if (++at == end) return false;
        switch (*at) {
        case 'b': *to++ = '\b'; break;
        case 'f': *to++ = '\f'; break;
        case 'n': *to++ = '\n'; break;
        case 'r': *to++ = '\r'; break;
        case 't': *to++ = '\t'; break;
        case '"': case '\\': case '/': *to++ = *at; break;
        case 'u': {
            int32_t c = unit(at + 1, end), low;
            at += 4;
            if (c >= 0xd800 && c < 0xdc00) {
                low = end - at > 2 && at[1] == '\\' && at[2] == 'u' ? unit(at + 3, end) : -1;
                if (low < 0xdc00 || low > 0xdfff) return false;
                c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
                at += 6;
            }
            if (c < 0 || (c >= 0xdc00 && c < 0xe000)) return false;
            to = put_utf8(to, (uint32_t)c);
            break;
        }
        default: return false;
        }
    }
    *text = (og_text){ begin, (size_t)(to - begin) };
    return true;
}
