// idempotency-key: the client names its operation in a header, the query or the body.
//
// The same policy as builtin:idempotency-key, to the letter: ../vectors.json is what both pass.

import { Answer, Operation, Plan, Settings, authority, bypass, guard, method, path, refuse, text } from "./oncegate";
import { Key } from "./key";
import { judge } from "./judge";
import { Sent, TWICE, keyInBody, keyInQuery } from "./places";
import { Kind, Place, Wanted } from "./settings";

let wanted!: Wanted;

export function configure(settings: Settings): Plan {
  wanted = new Wanted(settings);
  const plan = new Plan(wanted.keySchema());
  plan.methods = wanted.methods;
  plan.requestFields = wanted.fields();
  plan.pointers = wanted.pointers();
  plan.fault = settings.fault;
  return plan;
}

export function decide(operation: Operation): Answer {
  let pointer = 0;
  for (let i = 0; i < wanted.places.length; i++) {
    const place = wanted.places[i];
    const sent = look(operation, place, pointer);
    if (place.kind == Kind.Body) pointer++;
    if (sent == null) continue;
    if (sent.fault == "") judge(sent, wanted);
    if (sent.fault != "") return refuse("key-malformed", place.spoken() + ": " + sent.fault);
    const guarded = guard([authority(), method(), path(), text(sent.key)]);
    return sent.timed ? guarded.firstSent(sent.firstSent) : guarded;
  }
  return wanted.required ? refuse("key-missing", wanted.absence()) : bypass(wanted.absence());
}

/** What the client sent in this place; null where there is nothing. */
function look(operation: Operation, place: Place, pointer: u32): Sent | null {
  if (place.kind == Kind.Query) return keyInQuery(operation.field(":query"), place.name);
  if (place.kind == Kind.Body) return keyInBody(operation, pointer);
  const values = operation.values(place.name);
  if (values.length > 1) return new Sent("", TWICE);
  if (values.length == 0) return null;
  const key = new Key(values[0], wanted.strict);
  return new Sent(key.text, key.fault);
}
