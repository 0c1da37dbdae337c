// Holds a key against the settings.

const UUIDV7 = /^([0-9a-f]{8})-([0-9a-f]{4})-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/i;
const ULID = /^[0-7][0-9A-HJKMNP-TV-Z]{25}$/i;
const BASE32 = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/** The key and when it was first sent, where it tells; or its fault. */
export function judge(key, { min, max, pattern, keyTime }) {
  // Bytes of UTF-8: there is no TextEncoder in every engine.
  const bytes = encodeURIComponent(key).replace(/%../g, "%").length;
  if (bytes < min) return { fault: `it is ${bytes} bytes long: send at least ${min}` };
  if (bytes > max) return { fault: `it is ${bytes} bytes long: send at most ${max}` };
  if (pattern != null && !pattern.test(key)) return { fault: "it doesn't match the pattern" };
  if (keyTime == null) return { key };
  const millis = keyTime === "ulid" ? ulidMillis(key) : uuidv7Millis(key);
  if (millis == null) return { fault: `it is no ${keyTime}, which holds the time of its making: send one` };
  const firstSent = Math.floor(millis / 1000);
  // The letters' case means nothing in either kind: each has one form.
  key = keyTime === "ulid" ? key.toUpperCase() : key.toLowerCase();
  return firstSent < 2 ** 32 ? { key, firstSent } : { fault: "the time in it is past 2106" };
}

function uuidv7Millis(key) {
  const found = UUIDV7.exec(key);
  return found && parseInt(found[1] + found[2], 16);
}

/** The first ten of its characters, in Crockford's base 32. */
function ulidMillis(key) {
  if (!ULID.test(key)) return null;
  return [...key.slice(0, 10).toUpperCase()].reduce((millis, c) => millis * 32 + BASE32.indexOf(c), 0);
}
