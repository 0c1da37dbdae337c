// Keys in the query and in the body.

#ifndef PLACES_H
#define PLACES_H

#include "oncegate.h"

// What a client sent for a key. A fault is for the caller to read; empty: there is none.
typedef struct { og_text key, fault; og_option_number first; } sent;

#define TWICE OG("it comes more than once: send it once, with one key")

// False: there is none.
bool key_in_query(og_text query, og_text name, sent *sent);
// What is at this pointer of the plan. False: there is nothing.
bool key_in_body(const og_operation *operation, size_t pointer, sent *sent);

#endif
