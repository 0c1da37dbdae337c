// What the operator wants, read from the settings' JSON.

import { fail } from "./oncegate.js";
import { compile } from "./pattern.js";

const NAMES = ["from", "required", "strict", "methods", "pattern", "min", "max", "key_time"];
const HEADER = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
const MOST_PLACES = 32;
const LONGEST = 4096;
const LONGEST_SCHEMA = 256;
/** A name is cut in what a caller reads, because a refusal's detail has a bound. */
const SPOKEN = 40;

export function readSettings(json) {
  const given = JSON.parse(json);
  if (given == null || typeof given !== "object" || Array.isArray(given)) fail("the settings must be a JSON object");
  const unknown = Object.keys(given).find((name) => !NAMES.includes(name));
  if (unknown != null) fail(`there is no setting ${unknown}: there are ${NAMES.join(", ")}`);
  const { from = "header:idempotency-key", required = false, strict = false, methods = [] } = given;
  const { pattern, min = 1, max = 255, key_time: keyTime } = given;

  if (typeof required !== "boolean" || typeof strict !== "boolean") {
    fail("`required` and `strict` must be true or false");
  }
  const isLength = (length) => Number.isInteger(length) && length >= 1 && length <= LONGEST;
  if (!isLength(min) || !isLength(max) || min > max) {
    fail(`\`min\` and \`max\` must be whole numbers from 1 to ${LONGEST}`);
  }
  if (![undefined, "uuidv7", "ulid"].includes(keyTime)) fail('`key_time` must be "uuidv7" or "ulid"');
  const settings = {
    from: texts("from", from).map(readPlace),
    required,
    strict,
    methods: [...new Set(texts("methods", methods))].sort(),
    pattern: pattern === undefined ? null : compile(pattern),
    min,
    max,
    keyTime,
  };
  const places = settings.from.length;
  if (places < 1 || places > MOST_PLACES) fail(`\`from\` names ${places} places: name 1 to ${MOST_PLACES}`);
  if (new Set(settings.from.map(written)).size < places) fail("`from` names a place twice");
  settings.from.filter(({ kind }) => kind === "body").forEach((place, pointer) => Object.assign(place, { pointer }));
  if (strict && !settings.from.some(({ kind }) => kind === "header")) {
    fail("`strict` is about headers, and `from` names none");
  }
  return settings;
}

/** One text is as good as a list of one. */
function texts(name, value) {
  const list = [value].flat();
  if (!list.every((text) => typeof text === "string")) fail(`\`${name}\` must be a list of texts`);
  return list;
}

function readPlace(text) {
  const found = /^(header|query|body):(.+)$/su.exec(text);
  if (found == null) fail(`\`from\` names ${text}: write header:NAME, query:NAME or body:/POINTER`);
  const [, kind, name] = found;
  if (kind === "header" && !HEADER.test(name)) fail(`\`from\` names ${text}, which is no name of a header`);
  if (kind === "body" && !name.startsWith("/")) fail(`\`from\` names ${text}, which is no JSON pointer`);
  return { kind, name: kind === "header" ? name.toLowerCase() : name };
}

/** What goes into keys, and which requests have one. Equal texts promise equal keys. */
export function keySchema({ from, methods, keyTime }, sha256) {
  const named = methods.length > 0 ? ` methods=${methods.join(",")}` : "";
  const timed = keyTime == null ? "" : ` key_time=${keyTime}`;
  const schema = `idempotency-key/2 from=${from.map(written).join(",")}${named}${timed}`;
  if (schema.length <= LONGEST_SCHEMA) return schema;
  const digest = sha256(Uint8Array.from(schema, (c) => c.charCodeAt(0)));
  return `idempotency-key/2 sha256=${Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

/** As an operator would write it, in the characters that a key-schema may have. */
function written({ kind, name }) {
  return `${kind}:${name.replace(/[^!-~]|[,%]/gu, encodeURIComponent)}`;
}

/** What the plan declares. */
export function fields({ from }) {
  const named = (kind) => from.filter((place) => place.kind === kind).map(({ name }) => name);
  const query = named("query").length > 0 ? [":query"] : [];
  const type = named("body").length > 0 ? ["content-type"] : [];
  return [...new Set([...query, ...named("header"), ...type])];
}

/** A place as a caller is told. */
export function spoken({ kind, name }) {
  const cut = [...name].slice(0, SPOKEN).join("");
  return { header: `the header ${cut}`, query: `the query parameter ${cut}`, body: `${cut} of the body` }[kind];
}

/** What to say where there is no key. */
export function absence({ from }) {
  const places = from.slice(0, 4).map(spoken).join(" or ");
  return `there is no idempotency key in ${places}${from.length > 4 ? " or elsewhere" : ""}`;
}
