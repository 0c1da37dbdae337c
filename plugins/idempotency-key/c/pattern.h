// The part of regular expressions that all languages of this policy read alike: literals, classes, \d
// and \w of ASCII, ., groups, |, *, +, ?, {m,n}, ^ and $. All else is a fault.

#ifndef PATTERN_H
#define PATTERN_H

#include "oncegate.h"

enum { STEP_CLASS, STEP_SPLIT, STEP_JUMP, STEP_BEGIN, STEP_END };
// Targets are counted from the step itself, so that steps can be moved and repeated.
typedef struct { uint8_t op; bool not; int16_t first, second; } step;

typedef struct {
    step *steps;
    size_t count;
    // Of a class: its first range and how many there are, in `first` and `second`.
    uint32_t (*ranges)[2];
    size_t ranges_count;
} pattern;

// False: it isn't understood, and `fault` says from where on.
bool pattern_read(og_text text, pattern *pattern, og_text *fault);
// Whether the whole key, which is UTF-8, fits.
bool pattern_fits(const pattern *pattern, og_text key);

#endif
