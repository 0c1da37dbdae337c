// my-policy: the client names its operation in a header.
//
// It makes the keys of builtin:idempotency-key, and says so: its key-schema is the same. As soon as
// yours are made in another way, give them a name of your own.

import { Answer, Operation, Plan, Settings, authority, bypass, guard, method, path, refuse, text } from "./oncegate";
import { Key } from "./key";

const LONGEST = 255;

let header = "idempotency-key";
let required = false;
let strict = false;

/** Called first, once in each instance. */
export function configure(settings: Settings): Plan {
  const from = settings.texts("from");
  required = settings.flag("required");
  strict = settings.flag("strict");
  settings.done();
  if (from.length > 0) header = nameOf(from[0]);
  // All that goes into a key, and nothing else: records live on while this text is the same.
  const plan = new Plan("idempotency-key/2 from=header:" + header);
  plan.requestFields = [header];
  plan.fault = settings.fault;
  if (header == "" || from.length > 1) {
    plan.fault = '`from` must be ["header:NAME"], with one name of letters, digits, - and _';
  }
  return plan;
}

/** Called for each request that the plan is about. Equal requests have equal answers. */
export function decide(operation: Operation): Answer {
  const values = operation.values(header);
  if (values.length == 0) {
    const absence = "there is no idempotency key in the header " + header;
    return required ? refuse("key-missing", absence) : bypass(absence);
  }
  if (values.length > 1) return refuse("key-malformed", "the header " + header + " comes twice");
  const key = new Key(values[0], strict);
  if (key.fault != "") return refuse("key-malformed", "the header " + header + ": " + key.fault);
  if (key.text.length > LONGEST) return refuse("key-malformed", "the header " + header + " is longer than 255 bytes");
  return guard([authority(), method(), path(), text(key.text)]);
}

/** The name in `header:NAME`; empty where it is none. */
function nameOf(from: string): string {
  if (!from.startsWith("header:")) return "";
  const name = from.substring(7).toLowerCase();
  for (let i = 0; i < name.length; i++) {
    if ("abcdefghijklmnopqrstuvwxyz0123456789-_".indexOf(name.charAt(i)) < 0) return "";
  }
  return name;
}
