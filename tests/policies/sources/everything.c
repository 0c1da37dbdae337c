// A policy that says everything there is to say: what it says must arrive as it is meant.

#include "oncegate.h"

static og_text fields[] = { { "x-a", 3 }, { "x-fail", 6 } };
static og_text pointers[] = { { "/a", 2 }, { "/b", 2 } };

og_planned og_configure(og_text settings) {
    og_text json, text = OG("");
    if (og_setting(settings, OG("name"), &json)) og_json_text(json, &text);
    og_plan plan = og_plan_of(og_joined(OG("everything/1 name="), text));
    plan.request_fields = (og_texts){ fields, 2 };
    plan.request_payload = (og_payload_want){ .tag = OG_POINTERS, .pointers = { pointers, 2 } };
    return og_planned_as(plan);
}

og_decision og_decide(const og_operation *operation) {
    og_text why, a, at_b;
    if (og_field_value(operation, OG("x-fail"), 0, &why)) return og_failed(why);
    if (!og_field_value(operation, OG("x-a"), 1, &a)) return og_bypassed(OG("no second x-a"));
    if (!og_text_at(operation, 1, &at_b)) return og_refused(OG("no-b"), OG("\xc3\xa9"));
    og_log(OG_WARN, OG("a line"));
    static og_text keep[] = { { "/a", 2 } }, drop[] = { { "/c", 2 }, { "/d", 2 } };
    og_part document = { .tag = OG_PART_DOCUMENT, .document = { { keep, 1 }, { drop, 2 } } };
    og_part missing = { .tag = OG_PART_MISSING };
    const og_part key[] = { og_of(OG_QUERY), og_text_part(a), og_text_part(at_b), document, missing };
    og_guard guard = og_guard_of(key, 5);
    guard.fingerprint = (og_fingerprint){ .tag = OG_BY_DOCUMENT, .document = { { keep, 1 }, { drop, 2 } } };
    guard.retention_seconds = (og_option_number){ true, 7 };
    guard.tombstone_seconds = (og_option_number){ true, 8 };
    guard.first_sent = (og_option_number){ true, 9 };
    static og_field forward[] = { { { "x-b", 3 }, { "1", 1 } } }, labels[] = { { { "size", 4 }, { "x", 1 } } };
    guard.forward = (og_fields){ forward, 1 };
    guard.memo = (og_option_text){ true, OG("memo") };
    guard.labels = (og_fields){ labels, 1 };
    return og_guarded(guard);
}
