// What the operator wants, read from the settings' JSON.

#ifndef SETTINGS_H
#define SETTINGS_H

#include "oncegate.h"
#include "pattern.h"

enum { MOST_PLACES = 32, MOST_METHODS = 32 };

enum { IN_HEADER, IN_QUERY, IN_BODY };
// Where a key may be: the name of a header or a parameter, or a JSON pointer.
typedef struct place { uint8_t kind; og_text name; } place;

enum { NO_TIME, UUIDV7, ULID };
typedef struct {
    place places[MOST_PLACES];
    size_t count;
    bool required, strict;
    og_texts methods;
    bool has_pattern;
    pattern pattern;
    uint32_t min, max;
    uint8_t key_time;
} settings;

// False: they can't be taken, and `fault` says why.
bool settings_read(og_text json, settings *settings, og_text *fault);
// What goes into keys, and which requests have one. Equal texts promise equal keys.
og_text settings_key_schema(const settings *settings);
// What the plan declares, each once.
og_texts settings_fields(const settings *settings);
// The names of the places of a kind.
og_texts settings_named(const settings *settings, uint8_t kind);
// What to say where there is no key.
og_text settings_absence(const settings *settings);
// A place as a caller is told.
og_text place_spoken(const place *place);

og_text joined(const og_text *texts, size_t count);
#define JOINED(...) \
    joined((const og_text[]){ __VA_ARGS__ }, sizeof (const og_text[]){ __VA_ARGS__ } / sizeof(og_text))

#endif
