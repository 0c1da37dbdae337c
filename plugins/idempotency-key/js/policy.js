// idempotency-key: the client names its operation in a header, the query or the body.
//
// The same policy as builtin:idempotency-key, to the letter: ../vectors.json is what both pass.

import { sha256 } from "oncegate:policy/digest@0.1.0";
import { bypass, guard, of, plan, pointers, refuse, text, values } from "./oncegate.js";
import { parseKey } from "./key.js";
import { judge } from "./judge.js";
import { keyInBody, keyInQuery } from "./places.js";
import { absence, fields, keySchema, readSettings, spoken } from "./settings.js";

let settings;

export const policy = {
  configure(json) {
    settings = readSettings(json);
    const places = settings.from.filter(({ kind }) => kind === "body").map(({ name }) => name);
    return plan(keySchema(settings, sha256), fields(settings), {
      methods: settings.methods,
      ...(places.length > 0 && { requestPayload: pointers(...places) }),
    });
  },

  decide(operation) {
    for (const place of settings.from) {
      const sent = look(operation, place);
      if (sent == null) continue;
      const { key, firstSent, fault } = sent.fault == null ? judge(sent.key, settings) : sent;
      if (fault != null) return refuse("key-malformed", `${spoken(place)}: ${fault}`);
    return guard([of("authority"), of("method"), of("path"), text(key)], { firstSent });
    }
    return settings.required ? refuse("key-missing", absence(settings)) : bypass(absence(settings));
  },
};

/** The key in this place, or its fault; null where there is none. */
function look(operation, { kind, name, pointer }) {
  if (kind === "query") return keyInQuery(values(operation, ":query")[0] ?? "", name);
  if (kind === "body") return keyInBody(operation, pointer);
  const sent = values(operation, name);
  if (sent.length > 1) return { fault: "it comes more than once: send it once, with one key" };
  return sent.length === 0 ? null : parseKey(sent[0], settings.strict);
}
