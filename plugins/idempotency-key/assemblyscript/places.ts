// Keys in the query and in the body.

import { Body, Operation } from "./oncegate";

export const TWICE = "it comes more than once: send it once, with one key";

/** What a client sent for a key. */
export class Sent {
  /** Whether it tells when it was first sent, and that, in Unix seconds. */
  timed: bool = false;
  firstSent: u32 = 0;

  /** A fault is for the caller to read; empty: there is none. */
  constructor(public key: string, public fault: string) {}
}

/** Null where there is none. */
export function keyInQuery(query: string | null, name: string): Sent | null {
  if (query == null) return null;
  const pairs = query.split("&");
  let found: string | null = null;
  for (let i = 0; i < pairs.length; i++) {
    const pair = pairs[i], equals = pair.indexOf("=");
    if (pair == "" || decoded(equals < 0 ? pair : pair.substring(0, equals)) != name) continue;
    if (found != null) return new Sent("", TWICE);
    found = equals < 0 ? "" : pair.substring(equals + 1);
  }
  if (found == null) return null;
  const key = decoded(found);
  return key.includes("\ufffd") ? new Sent("", "it isn't UTF-8: send letters, digits and hyphens") : ofText(key);
}

/** As forms are; a replacement character where it isn't UTF-8. A percent sign that encodes nothing is itself. */
function decoded(text: string): string {
  const bytes = Uint8Array.wrap(String.UTF8.encode(text));
  let length = 0;
  for (let i = 0; i < bytes.length; i++) {
    const high = i + 2 < bytes.length ? hex(bytes[i + 1]) : -1, low = i + 2 < bytes.length ? hex(bytes[i + 2]) : -1;
    if (bytes[i] == 0x25 && high >= 0 && low >= 0) {
      bytes[length++] = <u8>(high << 4 | low);
      i += 2;
    } else {
      bytes[length++] = bytes[i] == 0x2b ? 0x20 : bytes[i];
    }
  }
  return isUtf8(bytes, length) ? String.UTF8.decodeUnsafe(bytes.dataStart, length) : "\ufffd";
}

function hex(c: u8): i32 {
  if (c >= 0x30 && c <= 0x39) return c - 0x30;
  const letter = (c | 0x20) - 0x61;
  return c > 0x40 && letter <= 5 ? letter + 10 : -1;
}

function isUtf8(bytes: Uint8Array, length: i32): bool {
  for (let i = 0; i < length;) {
    const lead = bytes[i++];
    if (lead < 0x80) continue;
    const more = lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : 3;
    if (lead < 0xc2 || lead > 0xf4 || i + more > length) return false;
    let point = <u32>lead & (0x3f >> more);
    for (let end = i + more; i < end; i++) {
      if ((bytes[i] & 0xc0) != 0x80) return false;
      point = point << 6 | bytes[i] & 0x3f;
    }
    // Overlong, a surrogate, or past the last character.
    if (more == 2 && (point < 0x800 || (point >= 0xd800 && point < 0xe000))) return false;
    if (more == 3 && (point < 0x10000 || point > 0x10ffff)) return false;
  }
  return true;
}

/** What is at this pointer of the plan; null where there is nothing. */
export function keyInBody(operation: Operation, pointer: u32): Sent | null {
  if (operation.body == Body.Oversize) {
    return new Sent("", "the body is too large to be read for a key: send a smaller one");
  }
  if (operation.body == Body.Malformed && isDocument(operation.field("content-type"))) {
    return new Sent("", "the body can't be read for a key (" + operation.whole() + "): send a well-formed one");
  }
  const text = operation.textAt(pointer);
  if (text != null) return ofText(text);
  const json = operation.jsonAt(pointer);
  if (json == null || json == "null") return null;
  // A number, in canonical form, is as good as a string.
  const isNumber = "-0123456789".includes(json.charAt(0));
  return new Sent(json, isNumber ? "" : "it is neither a string nor a number: send a string");
}

/** Whether a body that can't be read is at fault. Others merely are no documents and hold no key. */
function isDocument(contentType: string | null): bool {
  if (contentType == null) return true;
  const essence = contentType.split(";")[0].trim().toLowerCase();
  const documents = ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"];
  return essence.endsWith("json") || documents.includes(essence);
}

function ofText(key: string): Sent {
  if (key == "") return new Sent("", "it is empty: send a key of your own for each operation, or leave it out");
  for (let i = 0; i < key.length; i++) {
    const c = key.charCodeAt(i);
    if (c < 0x20 || (c >= 0x7f && c < 0xa0)) return new Sent("", "it holds a control character: send it without");
  }
  return new Sent(key, "");
}
