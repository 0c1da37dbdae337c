// The key in a header: a string of RFC 9651 or, unless strict, the same without its quotes.
// Parameters of a string are read and left out.

#ifndef KEY_H
#define KEY_H

#include "oncegate.h"

// The key, or false and what is wrong, for the caller to read.
bool key_of(og_text value, bool strict, og_text *key, og_text *fault);

#endif
