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
  // QuickJS hands out at most 2 ** 31 - 1, so that a time past 2038 would be another one. A negative
  // number it takes modulo 2 ** 32, as JavaScript does.
  for (const name of ["retentionSeconds", "tombstoneSeconds", "firstSent"]) {
    if (val[name] != null) val[name] |= 0;
  }
  return { tag: "guard", val };
}

/** Not protected, for this reason. */
export function bypass(reason) {
  return { tag: "bypass", val: reason };
}

/** Turned away; the detail is for the caller to read. */
export function refuse(code, detail, status = 400) {
  return { tag: "refuse", val: { status, code, detail, fields: [] } };
}

/** The policy fails: an err in both engines, where `throw new Error()` is a trap in one of them. */
export function fail(why) {
  throw String(why);
}
