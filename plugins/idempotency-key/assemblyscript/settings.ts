// What the operator wants. A fault goes to the settings that it was read from.

import { Settings, sha256 } from "./oncegate";
import { Pattern } from "./pattern";

const MOST_PLACES = 32;
const LONGEST: u32 = 4096;
const LONGEST_SCHEMA = 256;
// A name is cut in what a caller reads, because a refusal's detail has a bound.
const SPOKEN = 40;

export enum Kind { Header, Query, Body }
export enum KeyTime { None, Uuidv7, Ulid }

/** Where a key may be. */
export class Place {
  constructor(readonly kind: Kind, readonly name: string) {}

  /** As an operator would write it, in the characters that a key-schema may have. */
  written(): string {
    let text = this.kind == Kind.Header ? "header:" : this.kind == Kind.Query ? "query:" : "body:";
    const bytes = Uint8Array.wrap(String.UTF8.encode(this.name));
    for (let i = 0; i < bytes.length; i++) {
      const c = <u32>bytes[i];
      // A comma or a space would end the name.
      const plain = c > 0x20 && c < 0x7f && c != 0x2c && c != 0x25;
      text += plain ? String.fromCharCode(c) : "%" + (0x100 + c).toString(16).substring(1).toUpperCase();
    }
    return text;
  }

  /** As a caller is told. */
  spoken(): string {
    let name = "";
    for (let i = 0, at = 0; i < SPOKEN && at < this.name.length; i++) {
      const character = String.fromCodePoint(this.name.codePointAt(at));
      name += character;
      at += character.length;
    }
    if (this.kind == Kind.Header) return "the header " + name;
    return this.kind == Kind.Query ? "the query parameter " + name : name + " of the body";
  }
}

export class Wanted {
  places: Place[] = [];
  required: bool;
  strict: bool;
  methods: string[];
  pattern: Pattern | null = null;
  min: u32;
  max: u32;
  keyTime: KeyTime = KeyTime.None;

  constructor(settings: Settings) {
    const from = settings.has("from") ? settings.texts("from") : ["header:idempotency-key"];
    this.required = settings.flag("required");
    this.strict = settings.flag("strict");
    this.methods = settings.texts("methods").sort();
    for (let i = this.methods.length - 1; i > 0; i--) {
      if (this.methods[i] == this.methods[i - 1]) this.methods.splice(i, 1);
    }
    this.min = settings.number("min", 1);
    this.max = settings.number("max", 255);
    if (this.min < 1 || this.min > this.max || this.max > LONGEST) {
      settings.fault = "`min` and `max` must be whole numbers from 1 to " + LONGEST.toString();
    }
    if (settings.has("pattern")) {
      const patterns = settings.texts("pattern");
      const pattern = new Pattern(patterns.length == 1 ? patterns[0] : "(");
      if (pattern.fault != "") settings.fault = "`pattern` isn't understood: " + pattern.fault;
      this.pattern = pattern;
    }
    if (settings.has("key_time")) {
      const kinds = settings.texts("key_time");
      if (kinds.length == 1 && kinds[0] == "uuidv7") this.keyTime = KeyTime.Uuidv7;
      else if (kinds.length == 1 && kinds[0] == "ulid") this.keyTime = KeyTime.Ulid;
      else settings.fault = '`key_time` must be "uuidv7" or "ulid"';
    }
    for (let i = 0; i < from.length; i++) this.place(from[i], settings);
    if (from.length < 1 || from.length > MOST_PLACES) settings.fault = "`from` must name 1 to 32 places";
    if (this.strict && this.named(Kind.Header).length == 0) {
      settings.fault = "`strict` is about headers, and `from` names none";
    }
    settings.done();
  }

  private place(text: string, settings: Settings): void {
    const colon = text.indexOf(":");
    const name = text.substring(colon + 1), kind = text.substring(0, max(colon, 0));
    let place: Place | null = null;
    if (kind == "header" && isToken(name)) place = new Place(Kind.Header, name.toLowerCase());
    if (kind == "query" && name != "") place = new Place(Kind.Query, name);
    if (kind == "body" && name.startsWith("/")) place = new Place(Kind.Body, name);
    if (place == null) {
      settings.fault = "`from` names " + text + ": write header:NAME, query:NAME or body:/POINTER";
      return;
    }
    for (let i = 0; i < this.places.length; i++) {
      if (this.places[i].written() == place.written()) settings.fault = "`from` names " + text + " twice";
    }
    this.places.push(place);
  }

  /** What goes into keys, and which requests have one. Equal texts promise equal keys. */
  keySchema(): string {
    let schema = "idempotency-key/2 from=";
    for (let i = 0; i < this.places.length; i++) schema += (i > 0 ? "," : "") + this.places[i].written();
    if (this.methods.length > 0) schema += " methods=" + this.methods.join(",");
    if (this.keyTime != KeyTime.None) {
      schema += " key_time=" + (this.keyTime == KeyTime.Ulid ? "ulid" : "uuidv7");
    }
    return schema.length <= LONGEST_SCHEMA ? schema : "idempotency-key/2 sha256=" + sha256(schema);
  }

  /** What the plan declares, each once. */
  fields(): string[] {
    const fields: string[] = this.named(Kind.Query).length > 0 ? [":query"] : [];
    const headers = this.named(Kind.Header);
    for (let i = 0; i < headers.length; i++) fields.push(headers[i]);
    if (this.pointers().length > 0 && !fields.includes("content-type")) fields.push("content-type");
    return fields;
  }

  pointers(): string[] {
    return this.named(Kind.Body);
  }

  /** What to say where there is no key. */
  absence(): string {
    let text = "there is no idempotency key in ";
    for (let i = 0; i < min(this.places.length, 4); i++) text += (i > 0 ? " or " : "") + this.places[i].spoken();
    return this.places.length > 4 ? text + " or elsewhere" : text;
  }

  private named(kind: Kind): string[] {
    const names: string[] = [];
    for (let i = 0; i < this.places.length; i++) {
      if (this.places[i].kind == kind) names.push(this.places[i].name);
    }
    return names;
  }
}

function isToken(name: string): bool {
  for (let i = 0; i < name.length; i++) {
    const c = name.charCodeAt(i);
    if (c <= 0x20 || c > 0x7e || '"(),/:;<=>?@[\\]{}'.includes(name.charAt(i))) return false;
  }
  return name != "";
}
