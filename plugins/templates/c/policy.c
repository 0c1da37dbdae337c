// my-policy: the client names its operation in a header.
//
// It makes the keys of builtin:idempotency-key, and says so: its key-schema is the same. As soon as
// yours are made in another way, give them a name of your own.

#include "key.h"
#include "oncegate.h"

enum { LONGEST = 255 };

static og_text header;
static bool required, strict;

// The name in `header:NAME`, in lower case.
static bool name_of(og_text from, og_text *name) {
    const og_text prefix = OG("header:");
    if (from.length <= prefix.length || !og_equal((og_text){ from.at, prefix.length }, prefix)) return false;
    size_t length = from.length - prefix.length;
    char *lower = og_room(length);
    for (size_t i = 0; i < length; i++) {
        char c = from.at[prefix.length + i];
        if (c >= 'A' && c <= 'Z') c += 'a' - 'A';
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_')) return false;
        lower[i] = c;
    }
    *name = (og_text){ lower, length };
    return true;
}

// The header that `from` names: "header:NAME", or a list of that one.
static bool read_from(og_text settings) {
    og_text json, text, more;
    header = OG("idempotency-key");
    if (!og_setting(settings, OG("from"), &json)) return true;
    if (json.at[0] == '[') {
        if (og_json_element(json, 1, &more) || !og_json_element(json, 0, &json)) return false;
    }
    return og_json_text(json, &text) && name_of(text, &header);
}

// A setting that is true or false; false where it isn't there.
static bool read_flag(og_text settings, og_text name, bool *flag) {
    og_text json;
    *flag = og_setting(settings, name, &json) && og_equal(json, OG("true"));
    return !og_setting(settings, name, &json) || *flag || og_equal(json, OG("false"));
}

og_planned og_configure(og_text settings) {
    og_text name;
    bool fault;
    for (size_t i = 0; og_setting_name(settings, i, &name, &fault); i++) {
        if (!og_equal(name, OG("from")) && !og_equal(name, OG("required")) && !og_equal(name, OG("strict"))) {
            return og_cannot_plan(og_joined(OG("there are from, required and strict, and no setting "), name));
        }
    }
    if (fault) return og_cannot_plan(OG("the settings are no JSON object"));
    if (!read_from(settings)) {
        return og_cannot_plan(OG("`from` must be [\"header:NAME\"], with one name of letters, digits, - and _"));
    }
    if (!read_flag(settings, OG("required"), &required) || !read_flag(settings, OG("strict"), &strict)) {
        return og_cannot_plan(OG("`required` and `strict` must be true or false"));
    }
    // All that goes into a key, and nothing else: records live on while this text is the same.
    og_plan plan = og_plan_of(og_joined(OG("idempotency-key/2 from=header:"), header));
    plan.request_fields = (og_texts){ &header, 1 };
    return og_planned_as(plan);
}

og_decision og_decide(const og_operation *operation) {
    og_text value, again, key, fault;
    if (!og_field_value(operation, header, 0, &value)) {
        og_text absence = og_joined(OG("there is no idempotency key in the header "), header);
        return required ? og_refused(OG("key-missing"), absence) : og_bypassed(absence);
    }
    og_text spoken = og_joined(OG("the header "), header);
    if (og_field_value(operation, header, 1, &again)) {
        return og_refused(OG("key-malformed"), og_joined(spoken, OG(" comes twice")));
    }
    if (!key_of(value, strict, &key, &fault)) {
        return og_refused(OG("key-malformed"), og_joined(og_joined(spoken, OG(": ")), fault));
    }
    if (key.length > LONGEST) {
        return og_refused(OG("key-malformed"), og_joined(spoken, OG(" is longer than 255 bytes")));
    }
    const og_part parts[] = { og_of(OG_AUTHORITY), og_of(OG_METHOD), og_of(OG_PATH), og_text_part(key) };
    return og_guarded(og_guard_of(parts, 4));
}
