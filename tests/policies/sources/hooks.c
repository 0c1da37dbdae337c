// A policy with all hooks, which says what it was told: all of it must arrive, both ways.

#include "oncegate.h"

static og_text fields[] = { { "x-key", 5 } }, pointers[] = { { "/id", 3 } };
static og_text answer_fields[] = { { "x-status", 8 } }, answer_pointers[] = { { "/status", 7 } };
static og_status_rule rules[] = { { 418, 418, OG_NOT_APPLIED }, { 500, 504, OG_UNKNOWN } };

og_planned og_configure(og_text settings) {
    (void)settings;
    og_plan plan = og_plan_of(OG("hooks/1"));
    plan.request_fields = (og_texts){ fields, 1 };
    plan.request_payload = (og_payload_want){ .tag = OG_POINTERS, .pointers = { pointers, 1 } };
    plan.response_fields = (og_texts){ answer_fields, 1 };
    plan.response_payload = (og_payload_want){ .tag = OG_POINTERS, .pointers = { answer_pointers, 1 } };
    plan.outcomes = (og_status_rules){ rules, 2 };
    return og_planned_as(plan);
}

og_decision og_decide(const og_operation *operation) {
    og_text key;
    if (!og_field_value(operation, OG("x-key"), 0, &key)) return og_bypassed(OG("no key"));
    const og_part parts[] = { og_text_part(key) };
    og_guard guard = og_guard_of(parts, 1);
    guard.while_running = OG_WAIT;
    guard.when_unknown = OG_PROBE;
    guard.memo = (og_option_text){ true, key };
    return og_guarded(guard);
}

static og_text number(uint32_t n) {
    char *end = (char *)og_room(10) + 10, *at = end;
    do *--at = (char)('0' + n % 10);
    while (n /= 10);
    return (og_text){ at, (size_t)(end - at) };
}

static og_text or(og_option_text text) {
    return text.some ? text.value : OG("-");
}

static og_text spaced(const og_text *words, size_t count) {
    og_text all = words[0];
    for (size_t i = 1; i < count; i++) all = og_joined(og_joined(all, OG(" ")), words[i]);
    return all;
}

static bool says(const og_fields *fields, og_text word) {
    for (size_t i = 0; i < fields->count; i++) {
        if (og_equal(fields->at[i].value, word)) return true;
    }
    return false;
}

og_settled og_settle(const og_receipt *receipt, const og_reply *reply) {
    og_text status = OG("");
    og_reply_text_at(reply, 0, &status);
    if (says(&reply->fields, OG("fail"))) return og_settle_failed(og_joined(OG("no word on "), number(reply->status)));
    if (!reply->complete) return og_settled_as(OG_COMPLETED);
    if (says(&reply->fields, OG("refused")) || says(&reply->trailers, OG("refused"))) {
        return og_settled_as(OG_NOT_APPLIED);
    }
    if (og_equal(status, OG("lost"))) return og_settled_as(OG_UNKNOWN);
    if (!og_equal(status, OG("half"))) return og_not_settled();
    og_settled settled = og_settled_as(OG_CONSUMED);
    settled.settlement.memo = (og_option_text){ true, og_joined(receipt->memo.value, OG("!")) };
    settled.settlement.retention_seconds = (og_option_number){ true, 5 };
    return settled;
}

og_asked og_question(const og_receipt *r) {
    og_text memo = or(r->memo);
    if (memo.length == 0) return og_ask_nothing();
    if (og_equal(memo, OG("fail"))) return og_question_failed(OG("no question"));
    og_asked asked = og_ask(og_joined(OG("/q?n="), number(r->attempts)));
    const og_text all[] = { r->route, r->method, r->authority, r->path, or(r->principal), r->key_schema,
                            number(r->first_attempt), memo };
    og_field *field = og_room(sizeof *field);
    *field = (og_field){ OG("x-all"), spaced(all, 8) };
    asked.question.fields = (og_fields){ field, 1 };
    return asked;
}

og_read og_reading(const og_receipt *receipt, const og_outbound *asked, const og_reply *answer) {
    (void)receipt;
    if (answer->status == 409) return og_found_out(OG_FOUND_CONSUMED);
    if (answer->status == 404) return og_found_out(OG_DID_NOT_HAPPEN);
    if (answer->status == 202) return og_found_out(OG_STILL_UNKNOWN);
    if (answer->status == 500) return og_reading_failed(OG("status 500"));
    if (asked->path.at[1] == 'q') return og_ask_next(og_joined(OG("/one/"), og_reply_body(answer)));
    og_text reference = OG("-");
    og_reply_field(answer, OG("x-ref"), 0, &reference);
    og_read read = og_happened(201, OG("text/plain"), og_reply_body(answer));
    og_field *fields = og_room(3 * sizeof *fields);
    fields[0] = read.finding.happened.fields.at[0];
    fields[1] = (og_field){ OG("x-asked"), asked->path };
    fields[2] = (og_field){ OG("x-ref"), reference };
    read.finding.happened.fields = (og_fields){ fields, 3 };
    return read;
}

og_presented og_present(const og_receipt *receipt, const og_operation *operation, const og_reply *reply) {
    static og_text remove[] = { { "x-kept", 6 } };
    og_text id;
    if (!og_text_at(operation, 0, &id)) return og_as_kept();
    if (og_equal(id, OG("fail"))) return og_present_failed(OG("no words"));
    og_presented presented = og_with_body(og_joined(og_joined(id, OG(":")), og_reply_body(reply)));
    og_field *field = og_room(sizeof *field);
    *field = (og_field){ OG("x-for"), or(receipt->principal) };
    presented.changes.set = (og_fields){ field, 1 };
    presented.changes.remove = (og_texts){ remove, 1 };
    return presented;
}

og_explained og_explain(const og_operation *operation, const og_problem *p) {
    if (og_equal(p->code, OG("expired"))) return og_not_explained();
    if (og_equal(p->code, OG("draining"))) return og_explain_failed(p->code);
    const og_text words[] = { OG("completed"), OG("consumed"), OG("not-applied"), OG("unknown") };
    og_text id = OG("-");
    og_text_at(operation, 0, &id);
    const og_text all[] = {
        p->code, number(p->status), p->detail, or(p->operation_id),
        p->outcome.some ? words[p->outcome.value] : OG("-"), p->retryable ? OG("yes") : OG("no"),
        p->retry_after_seconds.some ? number(p->retry_after_seconds.value) : OG("-"),
        p->first_status.some ? number(p->first_status.value) : OG("-"), or(p->first_location), id,
    };
    return og_worded(200, OG("text/plain"), spaced(all, 10));
}
