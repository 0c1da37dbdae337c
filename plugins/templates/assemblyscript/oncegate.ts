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

/** A text whose address and length lie at `at`. */
function liftAt(at: usize): string {
  return lift(load<u32>(at), load<u32>(at + 4));
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

function liftFields(at: usize): Field[] {
  const first = <usize>load<u32>(at);
  const list = new Array<Field>();
  for (let i: usize = 0; i < <usize>load<u32>(at + 4); i++) {
    const field = first + i * 16;
    list.push(new Field(liftAt(field), liftAt(field + 8)));
  }
  return list;
}

function liftOption(at: usize): string | null {
  return load<u8>(at) ? liftAt(at + 4) : null;
}

/** A body, as far as it is shown. */
class Payload {
  constructor(readonly body: Body, private first: usize, private second: usize) {}

  textAt(pointer: u32): string | null { return this.found(pointer, 1); }

  jsonAt(pointer: u32): string | null { return this.found(pointer, 2); }

  private found(pointer: u32, kind: u8): string | null {
    if (this.body != Body.Selected || <usize>pointer >= this.second) return null;
    const at = this.first + <usize>pointer * 12;
    return load<u8>(at) == kind ? liftAt(at + 4) : null;
  }

  whole(): string {
    const there = this.body == Body.Whole || this.body == Body.Malformed;
    return there ? lift(this.first, this.second) : "";
  }
}

function valuesOf(fields: Field[], name: string): string[] {
  const found = new Array<string>();
  for (let i = 0; i < fields.length; i++) {
    if (fields[i].name == name) found.push(fields[i].value);
  }
  return found;
}

/** The request, as far as the plan asked for it. */
export class Operation {
  constructor(readonly method: string, readonly fields: Field[], private payload: Payload) {}

  get body(): Body { return this.payload.body; }

  /** All values of a declared field, as they arrived. */
  values(name: string): string[] { return valuesOf(this.fields, name); }

  /** The first value of a declared field; null where there is none. */
  field(name: string): string | null {
    const values = this.values(name);
    return values.length > 0 ? values[0] : null;
  }

  /** The text at the plan's pointer of this place; null where there is none, or no text. */
  textAt(pointer: u32): string | null { return this.payload.textAt(pointer); }

  /** What stands at the plan's pointer of this place, as JSON; null where there is nothing, or a text. */
  jsonAt(pointer: u32): string | null { return this.payload.jsonAt(pointer); }

  /** The body where the plan asked for all of it, or the reason where it is malformed; else empty. */
  whole(): string { return this.payload.whole(); }
}

/** The arguments of `decide`. */
export function operationOf(
  method: usize, methodLength: usize, fields: usize, count: usize, payload: u32, first: usize, second: usize,
): Operation {
  const list = new Array<Field>();
  for (let i: usize = 0; i < count; i++) {
    const at = fields + i * 16;
    list.push(new Field(liftAt(at), liftAt(at + 8)));
  }
  return new Operation(lift(method, methodLength), list, new Payload(<Body>payload, first, second));
}

/** An operation where it lies in memory, 28 bytes. */
export function operationAt(at: usize): Operation {
  const payload = new Payload(<Body>load<u8>(at + 16), load<u32>(at + 20), load<u32>(at + 24));
  return new Operation(liftAt(at), liftFields(at + 8), payload);
}

/** What the ledger still knows when the request is gone: 80 bytes. */
export class Receipt {
  readonly operationId: string;
  readonly route: string;
  readonly method: string;
  readonly authority: string;
  readonly path: string;
  readonly principal: string | null;
  readonly keySchema: string;
  readonly attempts: u32;
  /** In Unix seconds. */
  readonly firstAttempt: u32;
  readonly memo: string | null;

  constructor(at: usize) {
    this.operationId = liftAt(at);
    this.route = liftAt(at + 8);
    this.method = liftAt(at + 16);
    this.authority = liftAt(at + 24);
    this.path = liftAt(at + 32);
    this.principal = liftOption(at + 40);
    this.keySchema = liftAt(at + 52);
    this.attempts = load<u32>(at + 60);
    this.firstAttempt = load<u32>(at + 64);
    this.memo = liftOption(at + 68);
  }
}

/** An answer of the upstream: 36 bytes. */
export class Reply {
  readonly status: u16;
  readonly fields: Field[];
  readonly trailers: Field[];
  /** It arrived to its end. */
  readonly complete: bool;
  private payload: Payload;

  constructor(at: usize) {
    this.status = load<u16>(at);
    this.fields = liftFields(at + 4);
    this.trailers = liftFields(at + 12);
    this.payload = new Payload(<Body>load<u8>(at + 20), load<u32>(at + 24), load<u32>(at + 28));
    this.complete = load<u8>(at + 32) != 0;
  }

  get body(): Body { return this.payload.body; }

  /** The first value of a field that is shown; null where there is none. */
  field(name: string): string | null {
    const values = valuesOf(this.fields, name);
    return values.length > 0 ? values[0] : null;
  }

  /** The text at the plan's pointer of this place, for `settle`; null where there is none, or no text. */
  textAt(pointer: u32): string | null { return this.payload.textAt(pointer); }

  /** All of the body where it is shown, or the reason where it is malformed; else empty. */
  whole(): string { return this.payload.whole(); }
}

/** The question that `reading` reads the answer to: 36 bytes. */
export class Asked {
  readonly method: string;
  /** With the query. */
  readonly path: string;
  readonly fields: Field[];

  constructor(at: usize) {
    this.method = liftAt(at);
    this.path = liftAt(at + 8);
    this.fields = liftFields(at + 16);
  }
}

/** One of the gateway's own answers: 60 bytes. */
export class Problem {
  readonly status: u16;
  readonly code: string;
  readonly detail: string;
  readonly operationId: string | null;
  /** A `Disposition`, or -1 where the outcome isn't settled. */
  readonly outcome: i32;
  readonly retryable: bool;
  /** -1 where nothing is said of it. */
  readonly retryAfterSeconds: i64;
  /** Of the answer that is not kept; 0: none. */
  readonly firstStatus: u16;
  readonly firstLocation: string | null;

  constructor(at: usize) {
    this.status = load<u16>(at);
    this.code = liftAt(at + 4);
    this.detail = liftAt(at + 12);
    this.operationId = liftOption(at + 20);
    this.outcome = load<u8>(at + 32) ? <i32>load<u8>(at + 33) : -1;
    this.retryable = load<u8>(at + 34) != 0;
    this.retryAfterSeconds = load<u8>(at + 36) ? <i64>load<u32>(at + 40) : -1;
    this.firstStatus = load<u8>(at + 44) ? load<u16>(at + 46) : 0;
    this.firstLocation = liftOption(at + 48);
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
  /** Fields, and places in the body, of answers that `settle` reads. */
  responseFields: string[] = [];
  responsePointers: string[] = [];
  /** Bytes of an answer's body that it reads whole; 0: none. */
  responseWhole: u32 = 0;
  /** Tried in order before `settle`. */
  outcomes: StatusRule[] = [];
  /** Why the settings can't be taken, where they can't. */
  fault: string = "";

  constructor(public keySchema: string) {}
}

export enum Disposition { Completed, Consumed, NotApplied, Unknown }

/** What whole answers with such a status mean. */
export class StatusRule {
  constructor(readonly lowest: u16, readonly highest: u16, readonly disposition: Disposition) {}
}

function putWant(at: usize, pointers: string[], whole: u32): void {
  if (pointers.length > 0) {
    store<u8>(at, 1);
    putTexts(at + 4, pointers);
  } else if (whole > 0) {
    store<u8>(at, 2);
    store<u32>(at + 4, whole);
  }
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
  putWant(at + 28, plan.pointers, plan.whole);
  putTexts(at + 40, plan.responseFields);
  putWant(at + 48, plan.responsePointers, plan.responseWhole);
  const rules = room(<usize>plan.outcomes.length * 6);
  for (let i = 0; i < plan.outcomes.length; i++) {
    const rule = plan.outcomes[i], to = rules + <usize>i * 6;
    store<u16>(to, rule.lowest);
    store<u16>(to + 2, rule.highest);
    store<u8>(to + 4, <u8>rule.disposition);
  }
  store<u32>(at + 60, <u32>rules);
  store<u32>(at + 64, plan.outcomes.length);
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

export enum WhileRunning { RouteDefault, Reject, Wait }
export enum WhenUnknown { RouteDefault, Hold, Probe, Resend }

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

  /** In place of what the route gives duplicates in the meantime. */
  whileRunning(what: WhileRunning): this {
    store<u8>(this.at + 36, <u8>what);
    return this;
  }

  /** In place of what the route does when nobody knows the outcome. */
  whenUnknown(what: WhenUnknown): this {
    store<u8>(this.at + 37, <u8>what);
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

// --- what the other hooks say ---------------------------------------------------------------------

function putFailure(at: usize, why: string): void {
  store<u8>(at, 1);
  putText(at + 4, why);
}

function putOption(at: usize, text: string | null): void {
  if (text !== null) {
    store<u8>(at, 1);
    putText(at + 4, text);
  }
}

/** What `settle` says: `new Settled()` leaves the answer to the gateway's own table. */
export class Settled {
  readonly at: usize = room(32);

  /** This is what the answer means. */
  as(disposition: Disposition): this {
    store<u8>(this.at + 4, 1);
    store<u8>(this.at + 8, <u8>disposition);
    return this;
  }

  /** In place of the guard's memo. */
  memo(memo: string): this {
    putOption(this.at + 12, memo);
    return this;
  }

  /** Shortens the retention. */
  retention(seconds: u32): this {
    putNumber(this.at + 24, seconds);
    return this;
  }

  /** The policy fails: the outcome is unknown. */
  failed(why: string): this {
    putFailure(this.at, why);
    return this;
  }
}

/** A request for the host to send; credentials are the host's. */
export class Outbound {
  fields: Field[] = [];
  body: string | null = null;

  /** The path begins with "/" and has the query. */
  constructor(public path: string, public method: string = "GET") {}

  put(at: usize): void {
    putText(at, this.method);
    putText(at + 8, this.path);
    putFields(at + 16, this.fields);
    putOption(at + 24, this.body);
  }
}

/** What `question` says: `new Question()` has nothing to ask. */
export class Question {
  readonly at: usize = room(44);

  ask(outbound: Outbound): this {
    store<u8>(this.at + 4, 1);
    outbound.put(this.at + 8);
    return this;
  }

  failed(why: string): this {
    putFailure(this.at, why);
    return this;
  }
}

/** What `reading` says: `new Finding()` is still unknown. */
export class Finding {
  readonly at: usize = room(44);

  constructor() { store<u8>(this.at + 4, 3); }

  /** It happened, and this is the answer to replay. */
  happened(status: u16, fields: Field[], body: string): this {
    store<u8>(this.at + 4, 0);
    store<u16>(this.at + 8, status);
    putFields(this.at + 12, fields);
    if (body.length > 0) {
      store<u8>(this.at + 28, <u8>Body.Whole);
      putText(this.at + 32, body);
    }
    store<u8>(this.at + 40, 1);
    return this;
  }

  /** It happened; the answer is not known. */
  consumed(): this {
    store<u8>(this.at + 4, 1);
    return this;
  }

  didNotHappen(): this {
    store<u8>(this.at + 4, 2);
    return this;
  }

  /** Ask this next. */
  ask(outbound: Outbound): this {
    store<u8>(this.at + 4, 4);
    outbound.put(this.at + 8);
    return this;
  }

  failed(why: string): this {
    putFailure(this.at, why);
    return this;
  }
}

/** What `present` says: `new Changes()` leaves the answer as it is kept. */
export class Changes {
  readonly at: usize = room(36);

  set(fields: Field[]): this {
    store<u8>(this.at + 4, 1);
    putFields(this.at + 8, fields);
    return this;
  }

  remove(names: string[]): this {
    store<u8>(this.at + 4, 1);
    putTexts(this.at + 16, names);
    return this;
  }

  body(body: string): this {
    store<u8>(this.at + 4, 1);
    putOption(this.at + 24, body);
    return this;
  }

  /** The policy fails: nothing is shown. */
  failed(why: string): this {
    putFailure(this.at, why);
    return this;
  }
}

/** What `explain` says: `new Wording()` leaves the problem to the gateway's own words. */
export class Wording {
  readonly at: usize = room(28);

  as(status: u16, fields: Field[], body: string): this {
    store<u8>(this.at + 4, 1);
    store<u16>(this.at + 8, status);
    putFields(this.at + 12, fields);
    putText(this.at + 20, body);
    return this;
  }

  failed(why: string): this {
    putFailure(this.at, why);
    return this;
  }
}
