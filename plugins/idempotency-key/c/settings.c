// See settings.h.

#include "settings.h"

enum {
    LONGEST = 4096,
    LONGEST_SCHEMA = 256,
    // A name is cut in what a caller reads, because a refusal's detail has a bound.
    SPOKEN = 40,
};

og_text joined(const og_text *texts, size_t count) {
    og_text all = OG("");
    for (size_t i = 0; i < count; i++) all = og_joined(all, texts[i]);
    return all;
}

static bool starts_with(og_text text, og_text with) {
    return text.length >= with.length && og_equal((og_text){ text.at, with.length }, with);
}

static bool is_in(char c, const char *set) {
    for (; *set; set++) {
        if (c == *set) return true;
    }
    return false;
}

// --- reading --------------------------------------------------------------------------------------

// A setting that is true or false; false where it isn't there.
static bool read_flag(og_text json, og_text name, bool *flag, og_text *fault) {
    og_text value;
    bool there = og_setting(json, name, &value);
    *flag = there && og_equal(value, OG("true"));
    if (!there || *flag || og_equal(value, OG("false"))) return true;
    *fault = JOINED(OG("`"), name, OG("` must be true or false"));
    return false;
}

// A setting that is a length of a key; as it was where it isn't there.
static bool read_length(og_text json, og_text name, uint32_t *length, og_text *fault) {
    og_text value;
    if (!og_setting(json, name, &value)) return true;
    *length = 0;
    for (size_t i = 0; i < value.length && *length <= LONGEST; i++) {
        if (value.at[i] < '0' || value.at[i] > '9') *length = LONGEST;
        *length = *length * 10 + (uint32_t)(value.at[i] - '0');
    }
    if (*length >= 1 && *length <= LONGEST) return true;
    *fault = JOINED(OG("`"), name, OG("` must be a whole number from 1 to 4096"));
    return false;
}

// A setting that is a list of texts, or one text. False: it is none.
static bool read_texts(og_text json, size_t most, og_texts *texts) {
    og_text value;
    *texts = (og_texts){ og_room(most * sizeof(og_text)), 0 };
    if (json.at[0] != '[') {
        texts->count = 1;
        return og_json_text(json, texts->at);
    }
    while (og_json_element(json, texts->count, &value)) {
        if (texts->count == most || !og_json_text(value, &texts->at[texts->count])) return false;
        texts->count++;
    }
    return true;
}

static bool is_before(og_text one, og_text other) {
    for (size_t i = 0; i < one.length && i < other.length; i++) {
        if (one.at[i] != other.at[i]) return (uint8_t)one.at[i] < (uint8_t)other.at[i];
    }
    return one.length < other.length;
}

// Sorts them, and leaves each once.
static void sort(og_texts *texts) {
    size_t count = 0;
    for (size_t i = 0; i < texts->count; i++) {
        og_text text = texts->at[i];
        size_t to = 0;
        while (to < count && is_before(texts->at[to], text)) to++;
        if (to < count && og_equal(texts->at[to], text)) continue;
        for (size_t j = count++; j > to; j--) texts->at[j] = texts->at[j - 1];
        texts->at[to] = text;
    }
    texts->count = count;
}

// A header's name, in lower case. False: it is none.
static bool header_name(og_text name, og_text *lower) {
    char *to = og_room(name.length);
    for (size_t i = 0; i < name.length; i++) {
        char c = name.at[i];
        if (c <= ' ' || c > '~' || is_in(c, "\"(),/:;<=>?@[\\]{}")) return false;
        to[i] = c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
    }
    *lower = (og_text){ to, name.length };
    return name.length > 0;
}

static bool read_place(og_text text, place *place) {
    static const og_text kinds[] = { OG("header:"), OG("query:"), OG("body:") };
    for (uint8_t kind = IN_HEADER; kind <= IN_BODY; kind++) {
        if (!starts_with(text, kinds[kind])) continue;
        og_text name = { text.at + kinds[kind].length, text.length - kinds[kind].length };
        place->kind = kind;
        place->name = name;
        if (kind == IN_HEADER) return header_name(name, &place->name);
        return kind == IN_QUERY ? name.length > 0 : starts_with(name, OG("/"));
    }
    return false;
}

static bool read_places(og_text json, settings *settings, og_text *fault) {
    og_text value;
    og_texts from;
    if (!og_setting(json, OG("from"), &value)) value = OG("\"header:idempotency-key\"");
    *fault = OG("`from` must be a list of 1 to 32 texts");
    if (!read_texts(value, MOST_PLACES, &from) || from.count == 0) return false;
    settings->count = 0;
    for (size_t i = 0; i < from.count; i++) {
        place *place = &settings->places[settings->count++];
        *fault = JOINED(OG("`from` names "), from.at[i], OG(": write header:NAME, query:NAME or body:/POINTER"));
        if (!read_place(from.at[i], place)) return false;
        *fault = JOINED(OG("`from` names "), from.at[i], OG(" twice"));
        for (size_t j = 0; j < i; j++) {
            const struct place *other = &settings->places[j];
            if (other->kind == place->kind && og_equal(other->name, place->name)) return false;
        }
    }
    return true;
}

static bool read_rest(og_text json, settings *settings, og_text *fault) {
    og_text value, text;
    settings->methods = (og_texts){ 0 };
    *fault = OG("`methods` must be a list of at most 32 texts");
    if (og_setting(json, OG("methods"), &value) && !read_texts(value, MOST_METHODS, &settings->methods)) return false;
    sort(&settings->methods);
    *fault = OG("`pattern` must be a text");
    settings->has_pattern = og_setting(json, OG("pattern"), &value);
    if (settings->has_pattern) {
        if (!og_json_text(value, &text) || !pattern_read(text, &settings->pattern, fault)) return false;
    }
    settings->key_time = NO_TIME;
    if (og_setting(json, OG("key_time"), &value)) {
        *fault = OG("`key_time` must be \"uuidv7\" or \"ulid\"");
        if (!og_json_text(value, &text)) return false;
        settings->key_time = og_equal(text, OG("uuidv7")) ? UUIDV7 : og_equal(text, OG("ulid")) ? ULID : NO_TIME;
        if (settings->key_time == NO_TIME) return false;
    }
    return true;
}

bool settings_read(og_text json, settings *settings, og_text *fault) {
    static const og_text known[] = {
        OG("from"), OG("required"), OG("strict"), OG("methods"), OG("pattern"), OG("min"), OG("max"), OG("key_time"),
    };
    og_text name;
    bool broken;
    for (size_t i = 0; og_setting_name(json, i, &name, &broken); i++) {
        size_t k = 0;
        while (k < sizeof known / sizeof *known && !og_equal(known[k], name)) k++;
        *fault = og_joined(OG("there is no setting "), name);
        if (k == sizeof known / sizeof *known) return false;
    }
    *fault = OG("the settings must be a JSON object");
    if (broken) return false;
    settings->min = 1;
    settings->max = 255;
    if (!read_places(json, settings, fault) || !read_rest(json, settings, fault)) return false;
    if (!read_length(json, OG("min"), &settings->min, fault)) return false;
    if (!read_length(json, OG("max"), &settings->max, fault)) return false;
    if (!read_flag(json, OG("required"), &settings->required, fault)) return false;
    if (!read_flag(json, OG("strict"), &settings->strict, fault)) return false;
    *fault = OG("`min` is more than `max`: no key can have such a length");
    if (settings->min > settings->max) return false;
    *fault = OG("`strict` is about headers, and `from` names none");
    return !settings->strict || settings_named(settings, IN_HEADER).count > 0;
}

// --- what the plan says ---------------------------------------------------------------------------

// As an operator would write it, in the characters that a key-schema may have.
static og_text written(const place *place) {
    static const og_text kinds[] = { OG("header:"), OG("query:"), OG("body:") };
    char *begin = og_room(3 * place->name.length), *to = begin;
    for (size_t i = 0; i < place->name.length; i++) {
        char c = place->name.at[i];
        // A comma or a space would end it.
        if (c > ' ' && c <= '~' && c != ',' && c != '%') {
            *to++ = c;
            continue;
        }
        *to++ = '%';
        *to++ = "0123456789ABCDEF"[(uint8_t)c >> 4];
        *to++ = "0123456789ABCDEF"[c & 15];
    }
    return og_joined(kinds[place->kind], (og_text){ begin, (size_t)(to - begin) });
}

og_text settings_key_schema(const settings *settings) {
    og_text schema = OG("idempotency-key/2 from=");
    for (size_t i = 0; i < settings->count; i++) {
        schema = JOINED(schema, i > 0 ? OG(",") : OG(""), written(&settings->places[i]));
    }
    for (size_t i = 0; i < settings->methods.count; i++) {
        schema = JOINED(schema, i > 0 ? OG(",") : OG(" methods="), settings->methods.at[i]);
    }
    static const og_text times[] = { [NO_TIME] = OG(""), [UUIDV7] = OG(" key_time=uuidv7"), [ULID] = OG(" key_time=ulid") };
    schema = og_joined(schema, times[settings->key_time]);
    return schema.length <= LONGEST_SCHEMA ? schema : og_joined(OG("idempotency-key/2 sha256="), og_sha256(schema));
}

og_texts settings_named(const settings *settings, uint8_t kind) {
    og_texts names = { og_room(settings->count * sizeof(og_text)), 0 };
    for (size_t i = 0; i < settings->count; i++) {
        if (settings->places[i].kind == kind) names.at[names.count++] = settings->places[i].name;
    }
    return names;
}

og_texts settings_fields(const settings *settings) {
    og_texts fields = { og_room((settings->count + 2) * sizeof(og_text)), 0 };
    og_texts headers = settings_named(settings, IN_HEADER);
    bool body = settings_named(settings, IN_BODY).count > 0;
    if (settings_named(settings, IN_QUERY).count > 0) fields.at[fields.count++] = OG(":query");
    for (size_t i = 0; i < headers.count; i++) {
        fields.at[fields.count++] = headers.at[i];
        if (og_equal(headers.at[i], OG("content-type"))) body = false;
    }
    if (body) fields.at[fields.count++] = OG("content-type");
    return fields;
}

// --- what a caller is told ------------------------------------------------------------------------

og_text place_spoken(const place *place) {
    og_text name = { place->name.at, 0 };
    // Up to the byte that begins one character too many.
    for (size_t characters = 0; name.length < place->name.length; name.length++) {
        if ((name.at[name.length] & 0xc0) != 0x80 && characters++ == SPOKEN) break;
    }
    if (place->kind == IN_HEADER) return og_joined(OG("the header "), name);
    return place->kind == IN_QUERY ? og_joined(OG("the query parameter "), name) : og_joined(name, OG(" of the body"));
}

og_text settings_absence(const settings *settings) {
    og_text absence = OG("there is no idempotency key in ");
    for (size_t i = 0; i < settings->count && i < 4; i++) {
        absence = JOINED(absence, i > 0 ? OG(" or ") : OG(""), place_spoken(&settings->places[i]));
    }
    return settings->count > 4 ? og_joined(absence, OG(" or elsewhere")) : absence;
}
