// Holds a key against the settings.

#ifndef JUDGE_H
#define JUDGE_H

#include "places.h"
#include "settings.h"

// Leaves in `sent` what is wrong with its key, or its one form and when it was first sent, where it tells.
void judge(sent *sent, const settings *settings);

#endif
