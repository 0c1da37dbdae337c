// Holds a key against the settings.

import { Sent } from "./places";
import { KeyTime, Wanted } from "./settings";

const BASE32 = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/** Leaves in `sent` what is wrong with its key, or its one form and when it was first sent, where it tells. */
export function judge(sent: Sent, wanted: Wanted): void {
  const key = sent.key, pattern = wanted.pattern;
  const length = <u32>String.UTF8.byteLength(key);
  const long = "it is " + length.toString() + " bytes long: send at ";
  if (length < wanted.min) sent.fault = long + "least " + wanted.min.toString();
  else if (length > wanted.max) sent.fault = long + "most " + wanted.max.toString();
  else if (pattern != null && !pattern.fits(key)) sent.fault = "it doesn't match the pattern";
  if (sent.fault != "" || wanted.keyTime == KeyTime.None) return;
  const millis = wanted.keyTime == KeyTime.Ulid ? ulidMillis(key) : uuidv7Millis(key);
  if (millis < 0) sent.fault = "it holds no time of its making, as a UUIDv7 or a ULID does: send one";
  else if (millis / 1000 > <i64>u32.MAX_VALUE) sent.fault = "the time in it is past 2106";
  sent.timed = true;
  // The letters' case means nothing in either kind: each has one form.
  sent.key = wanted.keyTime == KeyTime.Ulid ? key.toUpperCase() : key.toLowerCase();
  sent.firstSent = <u32>(millis / 1000);
}

/** Less than 0 where it is no UUID of version 7. */
function uuidv7Millis(key: string): i64 {
  if (key.length != 36) return -1;
  let millis: i64 = 0;
  for (let i = 0; i < 36; i++) {
    const c = key.charAt(i), digit = "0123456789abcdef".indexOf(c.toLowerCase());
    const hyphen = i == 8 || i == 13 || i == 18 || i == 23;
    if (hyphen ? c != "-" : digit < 0 || key.charCodeAt(i) > 0x7f) return -1;
    if ((i == 14 && digit != 7) || (i == 19 && digit >> 2 != 2)) return -1;
    if (i < 13 && !hyphen) millis = millis << 4 | digit;
  }
  return millis;
}

/** Less than 0 where it is no ULID. The time is its first ten characters, in Crockford's base 32. */
function ulidMillis(key: string): i64 {
  if (key.length != 26 || key.charCodeAt(0) > 0x37) return -1;
  let millis: i64 = 0;
  for (let i = 0; i < 26; i++) {
    const digit = BASE32.indexOf(key.charAt(i).toUpperCase());
    if (digit < 0 || key.charCodeAt(i) > 0x7f) return -1;
    if (i < 10) millis = millis << 5 | digit;
  }
  return millis;
}
