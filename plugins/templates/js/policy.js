// my-policy: the client names its operation in a header.
//
// It makes the keys of builtin:idempotency-key, and says so: its key-schema is the same. As soon as
// yours are made in another way, give them a name of your own.

import { bypass, fail, guard, of, plan, refuse, text, values } from "./oncegate.js";
import { parseKey } from "./key.js";

const LONGEST = 255;

let header;
let required;
let strict;

export const policy = {
  // Called first, once in each instance, with the settings as a JSON object.
  configure(json) {
    const { from = ["header:idempotency-key"], required: must = false, strict: quoted = false, ...others } =
      JSON.parse(json);
    const unknown = Object.keys(others);
    if (unknown.length > 0) fail(`there is no setting ${unknown[0]}: there are from, required, strict`);
    const name = /^header:([A-Za-z0-9_-]+)$/.exec([from].flat().length === 1 ? [from].flat()[0] : "");
    if (name == null) fail('`from` must be ["header:NAME"], with one name of letters, digits, - and _');
    if (typeof must !== "boolean" || typeof quoted !== "boolean") {
      fail("`required` and `strict` must be true or false");
    }
    header = name[1].toLowerCase();
    required = must;
    strict = quoted;
    // All that goes into a key, and nothing else: records live on while this text is the same.
    return plan(`idempotency-key/2 from=header:${header}`, [header]);
  },

  // Called for each request that the plan is about. Equal requests have equal answers.
  decide(operation) {
    const found = values(operation, header);
    if (found.length === 0) {
      const absence = `there is no idempotency key in the header ${header}`;
      return required ? refuse("key-missing", absence) : bypass(absence);
    }
    if (found.length > 1) return refuse("key-malformed", `the header ${header} comes twice`);
    const { key, fault } = parseKey(found[0], strict);
    if (fault != null) return refuse("key-malformed", `the header ${header}: ${fault}`);
    if (key.length > LONGEST) return refuse("key-malformed", `the header ${header} is longer than 255 bytes`);
    return guard([of("authority"), of("method"), of("path"), text(key)]);
  },
};
