// Short ways to write what is usual in a policy, for QuickJS (componentize-qjs) and SpiderMonkey
// (componentize-js) alike. Names are those of wit/policy.wit, in camel case.
//
// What is absent is null in the one engine and undefined in the other: test `x == null`. An optional
// member whose name is misspelt is silently none in both.

/** All values of a declared field, as they arrived. */
export function values(operation, name) {
  return operation.fields.filter((field) => field.name === name).map((field) => field.value);
}

/** The first value of a declared field; null where there is none. */
export function field(operation, name) {
  const found = operation.fields.find((field) => field.name === name);
  return found == null ? null : found.value;
}

/** The text at the plan's pointer of this place; null where there is none, or no text. */
export function textAt(operation, pointer) {
  if (operation.payload.tag !== "selected") return null;
  const found = operation.payload.val[pointer];
  return found != null && found.tag === "text" ? found.val : null;
}

/** All of a body that the hook is shown, as text; null where there is none. */
export function bodyText({ payload }) {
  return payload.tag === "whole" ? fromUtf8(payload.val) : null;
}

/** The bytes of a text: what `body` of anything that a policy hands out is made of. */
export function utf8(text) {
  const bytes = [];
  for (const char of String(text)) {
    const c = char.codePointAt(0);
    if (c < 0x80) bytes.push(c);
    else if (c < 0x800) bytes.push(0xc0 | (c >> 6), 0x80 | (c & 0x3f));
    else if (c < 0x10000) bytes.push(0xe0 | (c >> 12), 0x80 | ((c >> 6) & 0x3f), 0x80 | (c & 0x3f));
    else bytes.push(0xf0 | (c >> 18), 0x80 | ((c >> 12) & 0x3f), 0x80 | ((c >> 6) & 0x3f), 0x80 | (c & 0x3f));
  }
  return new Uint8Array(bytes);
}

// Neither engine is sure to have a TextDecoder.
function fromUtf8(bytes) {
  let text = "";
  for (const byte of bytes) text += "%" + byte.toString(16).padStart(2, "0");
  return decodeURIComponent(text);
}

/** A plan that asks for these fields; `more` has what else it wants. */
export function plan(keySchema, requestFields, more) {
  return {
    keySchema,
    methods: [],
    requestFields,
    requestPayload: { tag: "nothing" },
    responseFields: [],
    responsePayload: { tag: "nothing" },
    outcomes: [],
    options: [],
    ...more,
  };
}

/** What a plan wants of the body: these places, by JSON pointer. */
export function pointers(...places) {
  return { tag: "pointers", val: places };
}

/** Parts of a key. */
export const text = (val) => ({ tag: "text", val });
export const of = (attribute) => ({ tag: "of", val: attribute });
export const document = (keep = [], drop = []) => ({ tag: "document", val: { keep, drop } });
export const missing = () => ({ tag: "missing" });

/** Protected under this key; `more` has what is not the route's to say. */
export function guard(key, more) {
  const val = {
    key,
    fingerprint: { tag: "request" },
    whileRunning: "route-default",
    whenUnknown: "route-default",
    forward: [],
    labels: [],
    options: [],
    ...more,
  };
  return { tag: "guard", val: inRange(val) };
}

// QuickJS hands out at most 2 ** 31 - 1, so that a time past 2038 would be another one. A negative
// number it takes modulo 2 ** 32, as JavaScript does.
function inRange(times) {
  for (const name of ["retentionSeconds", "tombstoneSeconds", "firstSent"]) {
    if (times[name] != null) times[name] |= 0;
  }
  return times;
}

/** Not protected, for this reason. */
export function bypass(reason) {
  return { tag: "bypass", val: reason };
}

/** Turned away; the detail is for the caller to read. */
export function refuse(code, detail, status = 400) {
  return { tag: "refuse", val: { status, code, detail, fields: [] } };
}

// The other hooks: `settle`, `question`, `present` and `explain` return null where they have nothing to
// say.

/** What `settle` says: "completed", "consumed", "not-applied" or "unknown"; `more` has memo and
    retentionSeconds. */
export function settlement(disposition, more) {
  return inRange({ disposition, ...more });
}

/** A question for the upstream: GET of this path, which has the query. */
export function get(path, fields = []) {
  return { method: "GET", path, fields };
}

/** What `reading` says. */
export const consumed = () => ({ tag: "consumed" });
export const didNotHappen = () => ({ tag: "did-not-happen" });
export const stillUnknown = () => ({ tag: "still-unknown" });
export const ask = (outbound) => ({ tag: "ask", val: outbound });

/** What `reading` says: it happened, and this is the answer to replay. */
export function happened(status, fields, body) {
  const payload = body == null || body === "" ? { tag: "absent" } : { tag: "whole", val: utf8(body) };
  return { tag: "happened", val: { status, fields, trailers: [], payload, complete: true } };
}

/** What `present` says: in what the answer differs from the kept one. */
export function changes({ set = [], remove = [], body }) {
  return { set, remove, body: body == null ? undefined : utf8(body) };
}

/** What `explain` says: the problem in the caller's words. */
export function wording(status, contentType, body) {
  return { status, fields: [{ name: "content-type", value: contentType }], body: utf8(body) };
}

/** The policy fails: an err in both engines, where `throw new Error()` is a trap in one of them. */
export function fail(why) {
  throw String(why);
}
