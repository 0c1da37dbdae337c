// The interface of wit/policy.wit for AssemblyScript: how its types lie in memory (the canonical ABI
// of the component model), and short ways to write what is usual.
//
// There are no exceptions: return `failed("why")` for an err. `throw` and everything else that aborts
// is a trap; its message goes to the gateway's log.

// --- what the host offers -------------------------------------------------------------------------

@external("oncegate:policy/log@0.1.0", "emit")
declare function emit(level: u32, message: usize, length: usize): void;

export enum Level { Debug, Info, Warn, Error }

/** A line for the operator's log. */
export function log(level: Level, message: string): void {
  const text = String.UTF8.encode(message);
  emit(level, changetype<usize>(text), text.byteLength);
}

@external("oncegate:policy/digest@0.1.0", "sha256")
declare function digest(data: usize, length: usize, result: usize): void;

/** The SHA-256 of a text, in hexadecimal. */
export function sha256(text: string): string {
  const bytes = String.UTF8.encode(text);
  const result = room(8);
  digest(changetype<usize>(bytes), bytes.byteLength, result);
  const at = <usize>load<u32>(result);
  let hex = "";
  for (let i: usize = 0; i < 32; i++) hex += (0x100 + load<u8>(at + i)).toString(16).substring(1);
  return hex;
}

/** What asc calls where a program can't go on. */
export function abort(message: string | null, file: string | null, line: u32, column: u32): void {
  log(Level.Error, (message ? message : "aborted") + " at " + (file ? file : "?") + ":" + line.toString());
  unreachable();
}

// --- memory ---------------------------------------------------------------------------------------

// The stub runtime never frees; it can only begin anew. So what configure has made is kept by
// taking its room again at once.
let kept: usize = 0;

/** What has been made so far stays. */
export function keep(): void {
  kept = heap.alloc(0) - __heap_base;
}

/** What was made since is gone. */
export function release(): void {
  heap.reset();
  heap.alloc(kept);
}

/** Room for an argument. */
export function lower(old: usize, oldSize: usize, size: usize): usize {
  const at = heap.alloc(size);
  if (oldSize) memory.copy(at, old, min(oldSize, size));
  return at;
}

/** Room for a result, cleared: zero is `none`, the empty list and the first case. */
function room(size: usize): usize {
  const at = heap.alloc(size);
  memory.fill(at, 0, size);
  return at;
}

function lift(at: usize, length: usize): string {
  return String.UTF8.decodeUnsafe(at, length);
}

function putText(at: usize, text: string): void {
  const bytes = String.UTF8.encode(text);
  store<u32>(at, <u32>changetype<usize>(bytes));
  store<u32>(at + 4, bytes.byteLength);
}

function putTexts(at: usize, texts: string[]): void {
  const list = room(<usize>texts.length * 8);
  for (let i = 0; i < texts.length; i++) putText(list + <usize>i * 8, texts[i]);
  store<u32>(at, <u32>list);
  store<u32>(at + 4, texts.length);
}

function putFields(at: usize, fields: Field[]): void {
  const list = room(<usize>fields.length * 16);
  for (let i = 0; i < fields.length; i++) {
    putText(list + <usize>i * 16, fields[i].name);
    putText(list + <usize>i * 16 + 8, fields[i].value);
  }
  store<u32>(at, <u32>list);
  store<u32>(at + 4, fields.length);
}

function putNumber(at: usize, value: u32): void {
  store<u8>(at, 1);
  store<u32>(at + 4, value);
}

// --- what a policy is given -----------------------------------------------------------------------

export class Field {
  constructor(public name: string, public value: string) {}
}

export enum Body { Absent, Withheld, Selected, Whole, Oversize, Malformed }

/** The request, as far as the plan asked for it. */
export class Operation {
  readonly method: string;
  readonly fields: Field[];
  readonly body: Body;

  constructor(
    method: usize, methodLength: usize, fields: usize, count: usize,
    payload: u32, private first: usize, private second: usize,
  ) {
    this.method = lift(method, methodLength);
    const list = new Array<Field>();
    for (let i: usize = 0; i < count; i++) {
      const at = fields + i * 16;
      list.push(new Field(lift(load<u32>(at), load<u32>(at + 4)), lift(load<u32>(at + 8), load<u32>(at + 12))));
    }
    this.fields = list;
    this.body = <Body>payload;
  }

  /** All values of a declared field, as they arrived. */
  values(name: string): string[] {
    const found = new Array<string>();
    for (let i = 0; i < this.fields.length; i++) {
      if (this.fields[i].name == name) found.push(this.fields[i].value);
    }
    return found;
  }

  /** The first value of a declared field; null where there is none. */
  field(name: string): string | null {
    const values = this.values(name);
    return values.length > 0 ? values[0] : null;
  }

  /** The text at the plan's pointer of this place; null where there is none, or no text. */
  textAt(pointer: u32): string | null {
    if (this.body != Body.Selected || <usize>pointer >= this.second) return null;
    const at = this.first + <usize>pointer * 12;
    return load<u8>(at) == 1 ? lift(load<u32>(at + 4), load<u32>(at + 8)) : null;
  }

  /** What stands at the plan's pointer of this place, as JSON; null where there is nothing, or a text. */
  jsonAt(pointer: u32): string | null {
    if (this.body != Body.Selected || <usize>pointer >= this.second) return null;
    const at = this.first + <usize>pointer * 12;
    return load<u8>(at) == 2 ? lift(load<u32>(at + 4), load<u32>(at + 8)) : null;
  }

  /** The body where the plan asked for all of it, or the reason where it is malformed; else empty. */
  whole(): string {
    const there = this.body == Body.Whole || this.body == Body.Malformed;
    return there ? lift(this.first, this.second) : "";
  }
}

/** The settings: a JSON object of texts, truths, whole numbers and lists of texts. */
export class Settings {
  private json: string;
  private at: i32 = 0;
  private names: string[] = [];
  private values: string[][] = [];
  /** What is wrong with them, or empty. */
  fault: string = "";

  constructor(settings: usize, length: usize) {
    this.json = lift(settings, length);
    if (!this.members()) this.fault = "the settings are no JSON object of texts, truths, whole numbers and lists of texts";
  }

  /** A setting that is true or false; false where it isn't there. */
  flag(name: string): bool {
    const values = this.take(name);
    if (values.length == 0) return false;
    if (values[0] != "true" && values[0] != "false") this.fault = "`" + name + "` must be true or false";
    return values[0] == "true";
  }

  /** A setting that is a whole number; `usual` where it isn't there. */
  number(name: string, usual: u32): u32 {
    const values = this.take(name);
    if (values.length == 0) return usual;
    const number = I64.parseInt(values[0]);
    if (number > <i64>u32.MAX_VALUE || number.toString() != values[0]) this.fault = "`" + name + "` must be a whole number";
    return <u32>number;
  }

  /** Whether there is a setting of this name that wasn't asked for yet. */
  has(name: string): bool {
    return this.names.includes(name);
  }

  /** A setting that is a list of texts, or one text; empty where it isn't there. */
  texts(name: string): string[] {
    const values = this.take(name);
    for (let i = 0; i < values.length; i++) {
      if (!values[i].startsWith('"')) this.fault = "`" + name + "` must be a list of texts";
      values[i] = values[i].substring(1);
    }
    return values;
  }

  /** All settings were taken: another one is a mistake. */
  done(): void {
    if (this.names.length > 0) this.fault = "there is no setting `" + this.names[0] + "`";
  }

  private take(name: string): string[] {
    const at = this.names.indexOf(name);
    if (at < 0) return [];
    const values = this.values[at];
    this.names.splice(at, 1);
    this.values.splice(at, 1);
    return values;
  }

  // A value is kept as its words; of a text the opening quote is kept, too.
  private members(): bool {
    if (!this.skip("{")) return false;
    if (this.skip("}")) return true;
    do {
      const name = this.text();
      if (name == null || !this.skip(":")) return false;
      const values = this.value();
      if (values == null) return false;
      this.names.push(name.substring(1));
      this.values.push(values);
    } while (this.skip(","));
    return this.skip("}") && this.at == this.json.trimEnd().length;
  }

  private value(): string[] | null {
    if (this.skip("true")) return ["true"];
    if (this.skip("false")) return ["false"];
    if (!this.skip("[")) {
      const text = this.json.charAt(this.at) == '"' ? this.text() : this.digits();
      return text == null ? null : [text];
    }
    const texts = new Array<string>();
    if (this.skip("]")) return texts;
    do {
      const text = this.text();
      if (text == null) return null;
      texts.push(text);
    } while (this.skip(","));
    return this.skip("]") ? texts : null;
  }

  private digits(): string | null {
    const begin = this.at;
    while (this.at < this.json.length && "0123456789".includes(this.json.charAt(this.at))) this.at++;
    return this.at > begin ? this.json.substring(begin, this.at) : null;
  }

  private text(): string | null {
    if (!this.skip('"')) return null;
    let text = '"';
    while (this.at < this.json.length) {
      let c = this.json.charAt(this.at++);
      if (c == '"') return text;
      if (c == "\\") {
        c = this.json.charAt(this.at++);
        if (c == "u") {
          text += String.fromCharCode(<i32>parseInt(this.json.substr(this.at, 4), 16));
          this.at += 4;
          continue;
        }
        const escape = "bfnrt".indexOf(c);
        if (escape >= 0) c = "\b\f\n\r\t".charAt(escape);
      }
      text += c;
    }
    return null;
  }

  private skip(token: string): bool {
    while (" \t\r\n".indexOf(this.json.charAt(this.at)) >= 0 && this.at < this.json.length) this.at++;
    if (!this.json.startsWith(token, this.at)) return false;
    this.at += token.length;
    return true;
  }
}

// --- what a policy says ---------------------------------------------------------------------------

export class Plan {
  methods: string[] = [];
  requestFields: string[] = [];
  /** JSON pointers into the body that it reads. */
  pointers: string[] = [];
  /** Bytes of the body that it reads whole; 0: none. */
  whole: u32 = 0;
  /** Why the settings can't be taken, where they can't. */
  fault: string = "";

  constructor(public keySchema: string) {}
}

/** result<plan, string> */
export function planResult(plan: Plan): usize {
  const at = room(76);
  if (plan.fault.length > 0) {
    store<u8>(at, 1);
    putText(at + 4, plan.fault);
    return at;
  }
  putText(at + 4, plan.keySchema);
  putTexts(at + 12, plan.methods);
  putTexts(at + 20, plan.requestFields);
  if (plan.pointers.length > 0) {
    store<u8>(at + 28, 1);
    putTexts(at + 32, plan.pointers);
  } else if (plan.whole > 0) {
    store<u8>(at + 28, 2);
    store<u32>(at + 32, plan.whole);
  }
  return at;
}

export enum Attribute { Method, Authority, Path, Query, Body }

/** An element of a key: 20 bytes, a tag and what it stands with. */
export class Part {
  constructor(readonly tag: u8, readonly text: string, readonly attribute: Attribute, readonly keep: string[], readonly drop: string[]) {}

  put(at: usize): void {
    store<u8>(at, this.tag);
    if (this.tag == 0) putText(at + 4, this.text);
    if (this.tag == 2) store<u8>(at + 4, <u8>this.attribute);
    if (this.tag == 3) {
      putTexts(at + 4, this.keep);
      putTexts(at + 12, this.drop);
    }
  }
}

export function text(text: string): Part { return new Part(0, text, Attribute.Method, [], []); }
export function attribute(which: Attribute): Part { return new Part(2, "", which, [], []); }
export function method(): Part { return attribute(Attribute.Method); }
export function authority(): Part { return attribute(Attribute.Authority); }
export function path(): Part { return attribute(Attribute.Path); }
export function document(keep: string[], drop: string[]): Part { return new Part(3, "", Attribute.Body, keep, drop); }
export function missing(): Part { return new Part(4, "", Attribute.Method, [], []); }

function putParts(at: usize, parts: Part[]): void {
  const list = room(<usize>parts.length * 20);
  for (let i = 0; i < parts.length; i++) parts[i].put(list + <usize>i * 20);
  store<u32>(at, <u32>list);
  store<u32>(at + 4, parts.length);
}

/** result<verdict, string>, where it lies. */
export class Answer {
  constructor(readonly at: usize) {}
}

/** The policy fails: the caller gets a 503. */
export function failed(why: string): Answer {
  const at = room(100);
  store<u8>(at, 1);
  putText(at + 4, why);
  return new Answer(at);
}

/** Not protected, for this reason. */
export function bypass(reason: string): Answer {
  const at = room(100);
  putText(at + 8, reason);
  return new Answer(at);
}

/** Turned away with 400 and this code; the detail is for the caller to read. */
export function refuse(code: string, detail: string): Answer {
  const at = room(100);
  store<u8>(at + 4, 2);
  store<u16>(at + 8, 400);
  putText(at + 12, code);
  putText(at + 20, detail);
  return new Answer(at);
}

/** Protected under this key; the fingerprint is the whole request's. */
export function guard(key: Part[]): Guard {
  return new Guard(key);
}

export class Guard extends Answer {
  constructor(key: Part[]) {
    super(room(100));
    store<u8>(this.at + 4, 1);
    putParts(this.at + 8, key);
  }

  /** The fingerprint is the request's with its body as a document, shaped. */
  byDocument(keep: string[], drop: string[]): this {
    store<u8>(this.at + 16, 1);
    putTexts(this.at + 20, keep);
    putTexts(this.at + 28, drop);
    return this;
  }

  /** The fingerprint is exactly these parts. */
  byParts(parts: Part[]): this {
    store<u8>(this.at + 16, 2);
    putParts(this.at + 20, parts);
    return this;
  }

  /** The key alone identifies the operation. */
  byKeyOnly(): this {
    store<u8>(this.at + 16, 3);
    return this;
  }

  /** In place of the route's retention, where that is longer. */
  retention(seconds: u32): this {
    putNumber(this.at + 40, seconds);
    return this;
  }

  /** In place of the route's tombstone, where that is longer. */
  tombstone(seconds: u32): this {
    putNumber(this.at + 48, seconds);
    return this;
  }

  /** When the client first sent this, in Unix seconds. */
  firstSent(seconds: u32): this {
    putNumber(this.at + 56, seconds);
    return this;
  }

  /** Fields set on the upstream request. */
  forward(fields: Field[]): this {
    putFields(this.at + 64, fields);
    return this;
  }

  /** Kept with the record for later hooks. */
  memo(memo: string): this {
    store<u8>(this.at + 72, 1);
    putText(this.at + 76, memo);
    return this;
  }

  /** For metrics and the decision log. */
  labels(labels: Field[]): this {
    putFields(this.at + 84, labels);
    return this;
  }
}
