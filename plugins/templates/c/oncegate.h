// The interface of wit/policy.wit for C. On wasm32 the structs below lie in memory as the canonical
// ABI of the component model has them, so what comes in and goes out is never copied; oncegate.c
// checks every offset when it is compiled.
//
// A policy defines og_configure and og_decide, and the other hooks where it wants them: `oncegate policy
// build` sees which are there. Memory comes from og_room: what og_configure takes stays, what another
// hook takes is gone after the call. Nothing is ever freed by hand.

#ifndef ONCEGATE_H
#define ONCEGATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// --- what lies in memory --------------------------------------------------------------------------

// UTF-8, or bytes; not ended by a zero.
typedef struct { const char *at; size_t length; } og_text;
typedef struct { og_text *at; size_t count; } og_texts;
typedef struct { og_text name, value; } og_field;
typedef struct { og_field *at; size_t count; } og_fields;

enum { OG_METHOD, OG_AUTHORITY, OG_PATH, OG_QUERY, OG_BODY };
typedef struct { og_texts keep, drop; } og_shape;

enum { OG_PART_TEXT, OG_PART_BYTES, OG_PART_OF, OG_PART_DOCUMENT, OG_PART_MISSING };
typedef struct {
    uint8_t tag;
    union { og_text text, bytes; uint8_t of; og_shape document; };
} og_part;
typedef struct { og_part *at; size_t count; } og_parts;

enum { OG_BY_REQUEST, OG_BY_DOCUMENT, OG_BY_PARTS, OG_BY_KEY_ONLY };
typedef struct {
    uint8_t tag;
    union { og_shape document; og_parts parts; };
} og_fingerprint;

typedef struct { bool some; uint32_t value; } og_option_number;
typedef struct { bool some; og_text value; } og_option_text;

enum { OG_ROUTE_DEFAULT, OG_REJECT, OG_WAIT };
enum { OG_HOLD = 1, OG_PROBE, OG_RESEND };
typedef struct {
    og_parts key;
    og_fingerprint fingerprint;
    uint8_t while_running, when_unknown;
    og_option_number retention_seconds, tombstone_seconds, first_sent;
    og_fields forward;
    og_option_text memo;
    og_fields labels, options;
} og_guard;

typedef struct { uint16_t status; og_text code, detail; og_fields fields; } og_refusal;

enum { OG_BYPASS, OG_GUARD, OG_REFUSE };
typedef struct {
    uint8_t tag;
    union { og_text bypass; og_guard guard; og_refusal refuse; };
} og_verdict;

typedef struct {
    bool failed;
    union { og_verdict verdict; og_text why; };
} og_decision;

enum { OG_NOTHING, OG_POINTERS, OG_WHOLE };
typedef struct {
    uint8_t tag;
    union { og_texts pointers; uint32_t whole; };
} og_payload_want;

enum { OG_COMPLETED, OG_CONSUMED, OG_NOT_APPLIED, OG_UNKNOWN };
typedef struct { uint16_t lowest, highest; uint8_t disposition; } og_status_rule;
typedef struct { og_status_rule *at; size_t count; } og_status_rules;

typedef struct {
    og_text key_schema;
    og_texts methods, request_fields;
    og_payload_want request_payload;
    og_texts response_fields;
    og_payload_want response_payload;
    og_status_rules outcomes;
    og_fields options;
} og_plan;

typedef struct {
    bool failed;
    union { og_plan plan; og_text why; };
} og_planned;

enum { OG_FOUND_NOTHING, OG_FOUND_TEXT, OG_FOUND_JSON };
typedef struct { uint8_t tag; og_text text; } og_found;

enum { OG_ABSENT, OG_WITHHELD, OG_SELECTED, OG_ALL, OG_OVERSIZE, OG_MALFORMED };
typedef struct {
    og_text method;
    og_fields fields;
    // The body: of OG_SELECTED the places, of OG_ALL the bytes, of OG_MALFORMED the reason.
    uint8_t payload;
    union { struct { og_found *at; size_t count; } selected; og_text bytes; };
} og_operation;

// What the ledger still knows when the request is gone.
typedef struct {
    og_text operation_id, route, method, authority, path;
    og_option_text principal;
    og_text key_schema;
    uint32_t attempts, first_attempt;
    og_option_text memo;
} og_receipt;

// An answer of the upstream. Handed out, its payload is OG_ABSENT or OG_ALL.
typedef struct {
    uint16_t status;
    og_fields fields, trailers;
    uint8_t payload;
    union { struct { og_found *at; size_t count; } selected; og_text bytes; };
    bool complete;
} og_reply;

typedef struct { uint8_t disposition; og_option_text memo; og_option_number retention_seconds; } og_settlement;
typedef struct {
    bool failed;
    union { struct { bool some; og_settlement settlement; }; og_text why; };
} og_settled;

// A request for the host to send. The path has the query; credentials are the host's.
typedef struct { og_text method, path; og_fields fields; og_option_text body; } og_outbound;
typedef struct {
    bool failed;
    union { struct { bool some; og_outbound question; }; og_text why; };
} og_asked;

enum { OG_HAPPENED, OG_FOUND_CONSUMED, OG_DID_NOT_HAPPEN, OG_STILL_UNKNOWN, OG_ASK };
typedef struct {
    uint8_t tag;
    union { og_reply happened; og_outbound ask; };
} og_finding;
typedef struct {
    bool failed;
    union { og_finding finding; og_text why; };
} og_read;

typedef struct { og_fields set; og_texts remove; og_option_text body; } og_changes;
typedef struct {
    bool failed;
    union { struct { bool some; og_changes changes; }; og_text why; };
} og_presented;

typedef struct { bool some; uint8_t value; } og_option_disposition;
typedef struct { bool some; uint16_t value; } og_option_status;
// One of the gateway's own answers.
typedef struct {
    uint16_t status;
    og_text code, detail;
    og_option_text operation_id;
    og_option_disposition outcome;
    bool retryable;
    og_option_number retry_after_seconds;
    og_option_status first_status;
    og_option_text first_location;
} og_problem;

typedef struct { uint16_t status; og_fields fields; og_text body; } og_wording;
typedef struct {
    bool failed;
    union { struct { bool some; og_wording wording; }; og_text why; };
} og_explained;

// --- what a policy defines ------------------------------------------------------------------------

// Called first, once in each instance, with the settings as a JSON object.
og_planned og_configure(og_text settings);

// Called for each request that the plan is about. Equal requests have equal answers.
og_decision og_decide(const og_operation *operation);

// What an answer means that no status rule has settled.
og_settled og_settle(const og_receipt *receipt, const og_reply *reply);

// How to learn whether a lost attempt took effect, and what the upstream's answer says: both or none.
og_asked og_question(const og_receipt *receipt);
og_read og_reading(const og_receipt *receipt, const og_outbound *asked, const og_reply *answer);

// A replay and a problem in the caller's protocol: both or none.
og_presented og_present(const og_receipt *receipt, const og_operation *operation, const og_reply *reply);
og_explained og_explain(const og_operation *operation, const og_problem *problem);

// --- what is usual, in short ----------------------------------------------------------------------

// A literal.
#define OG(literal) ((og_text){ "" literal, sizeof(literal) - 1 })

void *og_room(size_t bytes);
og_text og_copy(og_text text);
og_text og_joined(og_text first, og_text second);
bool og_equal(og_text one, og_text other);

// The value of a declared field, counted from 0 where it comes several times. False: there is none.
bool og_field_value(const og_operation *operation, og_text name, size_t which, og_text *value);
// The text at the plan's pointer of this place. False: there is none, or no text.
bool og_text_at(const og_operation *operation, size_t pointer, og_text *text);

og_plan og_plan_of(og_text key_schema);
og_planned og_planned_as(og_plan plan);
og_planned og_cannot_plan(og_text why);

og_part og_text_part(og_text text);
og_part og_of(uint8_t attribute);
og_guard og_guard_of(const og_part *key, size_t count);
og_decision og_guarded(og_guard guard);
og_decision og_bypassed(og_text reason);
og_decision og_refused(og_text code, og_text detail);
// The policy fails: the caller gets a 503.
og_decision og_failed(og_text why);

// og_settle: this is what it means; the gateway's table has the word; the policy fails.
og_settled og_settled_as(uint8_t disposition);
og_settled og_not_settled(void);
og_settled og_settle_failed(og_text why);

// og_question: ask GET of this path; there is nothing to ask; the policy fails.
og_asked og_ask(og_text path);
og_asked og_ask_nothing(void);
og_asked og_question_failed(og_text why);

// og_reading: a finding without more; ask GET of this path next; it happened, with the answer to
// replay; the policy fails.
og_read og_found_out(uint8_t finding);
og_read og_ask_next(og_text path);
og_read og_happened(uint16_t status, og_text content_type, og_text body);
og_read og_reading_failed(og_text why);

// og_present: as it is kept; with another body; the policy fails, and nothing is shown.
og_presented og_as_kept(void);
og_presented og_with_body(og_text body);
og_presented og_present_failed(og_text why);

// og_explain: in the gateway's own words; in these; the policy fails.
og_explained og_not_explained(void);
og_explained og_worded(uint16_t status, og_text content_type, og_text body);
og_explained og_explain_failed(og_text why);

// The value of a field of an answer, counted from 0 where it comes several times. False: there is none.
bool og_reply_field(const og_reply *reply, og_text name, size_t which, og_text *value);
// The text at the plan's pointer of this place in an answer that `settle` sees. False: there is none,
// or no text.
bool og_reply_text_at(const og_reply *reply, size_t pointer, og_text *text);
// All of an answer's body, as `reading` and `present` see it; empty where there is none.
og_text og_reply_body(const og_reply *reply);

// A setting, as it is written in JSON. False: it isn't there.
bool og_setting(og_text settings, og_text name, og_text *json);
// The setting at this place, for who looks for one that he doesn't know. False: there are no more.
// `fault` is true where the settings are no JSON object.
bool og_setting_name(og_text settings, size_t which, og_text *name, bool *fault);
// The text that a JSON string stands for. False: it is no string.
bool og_json_text(og_text json, og_text *text);
// An element of a JSON array. False: there is none.
bool og_json_element(og_text json, size_t which, og_text *element);

enum { OG_DEBUG, OG_INFO, OG_WARN, OG_ERROR };
void og_log(uint32_t level, og_text message);

// The SHA-256 of a text, in hexadecimal.
og_text og_sha256(og_text text);

#endif
