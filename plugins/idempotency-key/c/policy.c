// idempotency-key: the client names its operation in a header, the query or the body.
//
// The same policy as builtin:idempotency-key, to the letter: ../vectors.json is what both pass.

#include "judge.h"
#include "key.h"
#include "oncegate.h"
#include "places.h"
#include "settings.h"

static settings wanted;

og_planned og_configure(og_text json) {
    og_text fault;
    if (!settings_read(json, &wanted, &fault)) return og_cannot_plan(fault);
    og_plan plan = og_plan_of(settings_key_schema(&wanted));
    plan.methods = wanted.methods;
    plan.request_fields = settings_fields(&wanted);
    og_texts pointers = settings_named(&wanted, IN_BODY);
    if (pointers.count > 0) plan.request_payload = (og_payload_want){ .tag = OG_POINTERS, .pointers = pointers };
    return og_planned_as(plan);
}

// What the client sent in this place. False: there is nothing.
static bool look(const og_operation *operation, const place *place, size_t pointer, sent *sent) {
    og_text value, again;
    if (place->kind == IN_QUERY) {
        return og_field_value(operation, OG(":query"), 0, &value) && key_in_query(value, place->name, sent);
    }
    if (place->kind == IN_BODY) return key_in_body(operation, pointer, sent);
    if (!og_field_value(operation, place->name, 0, &value)) return false;
    if (og_field_value(operation, place->name, 1, &again)) {
        sent->fault = TWICE;
    } else if (key_of(value, wanted.strict, &sent->key, &sent->fault)) {
        sent->fault = OG("");
    }
    return true;
}

og_decision og_decide(const og_operation *operation) {
    size_t pointer = 0;
    for (size_t i = 0; i < wanted.count; i++) {
        const place *place = &wanted.places[i];
        sent sent = { 0 };
        bool there = look(operation, place, pointer, &sent);
        if (place->kind == IN_BODY) pointer++;
        if (!there) continue;
        if (sent.fault.length == 0) judge(&sent, &wanted);
        if (sent.fault.length > 0) {
            return og_refused(OG("key-malformed"), JOINED(place_spoken(place), OG(": "), sent.fault));
        }
        const og_part parts[] = { og_of(OG_AUTHORITY), og_of(OG_METHOD), og_of(OG_PATH), og_text_part(sent.key) };
        og_guard guard = og_guard_of(parts, 4);
        guard.first_sent = sent.first;
        return og_guarded(guard);
    }
    og_text absence = settings_absence(&wanted);
    return wanted.required ? og_refused(OG("key-missing"), absence) : og_bypassed(absence);
}
