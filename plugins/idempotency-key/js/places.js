// Keys in the query and in the body.

import { field } from "./oncegate.js";

const DOCUMENTS = ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"];
const TWICE = "it comes more than once: send it once, with one key";

/** The key, or its fault; null where there is none. */
export function keyInQuery(query, name) {
  const found = query.split("&").filter((pair) => pair !== "").map((pair) => /^([^=]*)=?(.*)$/s.exec(pair));
  const [first, ...more] = found.filter((pair) => decoded(pair[1]) === name);
  if (first == null) return null;
  if (more.length > 0) return { fault: TWICE };
  const key = decoded(first[2]);
  if (key == null || key.includes("\ufffd")) return { fault: "it isn't UTF-8: send letters, digits and hyphens" };
  return ofText(key);
}

/** As forms are decoded; null where it isn't UTF-8. A percent sign that encodes nothing is itself. */
function decoded(text) {
  try {
    return decodeURIComponent(text.replace(/\+/g, " ").replace(/%(?![0-9A-Fa-f]{2})/g, "%25"));
  } catch {
    return null;
  }
}

/** The key at this pointer of the plan, or its fault; null where there is none. */
export function keyInBody(operation, pointer) {
  const { tag, val } = operation.payload;
  if (tag === "oversize") return { fault: "the body is too large to be read for a key: send a smaller one" };
  if (tag === "malformed" && isDocument(field(operation, "content-type"))) {
    return { fault: `the body can't be read for a key (${val}): send a well-formed one` };
  }
  const found = tag === "selected" ? val[pointer] : null;
  if (found == null || found.tag === "nothing" || (found.tag === "json" && found.val === "null")) return null;
  if (found.tag === "text") return ofText(found.val);
  // A number, in canonical form, is as good as a string.
  if (/^[-0-9]/.test(found.val)) return { key: found.val };
  return { fault: "it is neither a string nor a number: send a string" };
}

/** Whether a body that can't be read is at fault. Others merely are no documents and hold no key. */
function isDocument(contentType) {
  const essence = (contentType ?? "").split(";")[0].trim().toLowerCase();
  return essence.endsWith("json") || DOCUMENTS.includes(essence);
}

function ofText(key) {
  if (key === "") return { fault: "it is empty: send a key of your own for each operation, or leave it out" };
  return /[\0-\x1f\x7f-\x9f]/.test(key) ? { fault: "it holds a control character: send it without" } : { key };
}
