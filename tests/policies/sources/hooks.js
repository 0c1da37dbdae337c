// A policy with all hooks, which says what it was told: all of it must arrive, both ways.

import {
  ask, bodyText, bypass, changes, consumed, didNotHappen, fail, field, get, guard, happened, plan, pointers, settlement,
  stillUnknown, text, textAt, wording,
} from "./oncegate.js";

const or = (value) => (value == null ? "-" : String(value));

export const policy = {
  configure() {
    return plan("hooks/1", ["x-key"], {
      requestPayload: pointers("/id"),
      responseFields: ["x-status"],
      responsePayload: pointers("/status"),
      outcomes: [
        { lowest: 418, highest: 418, disposition: "not-applied" },
        { lowest: 500, highest: 504, disposition: "unknown" },
      ],
    });
  },

  decide(operation) {
    const key = field(operation, "x-key");
    if (key == null) return bypass("no key");
    return guard([text(key)], { memo: key, whileRunning: "wait", whenUnknown: "probe" });
  },
};

export const outcome = {
  settle(receipt, reply) {
    const says = (word) => [...reply.fields, ...reply.trailers].some((field) => field.value === word);
    const status = textAt(reply, 0);
    if (says("fail")) fail(`no word on ${reply.status}`);
    if (!reply.complete) return settlement("completed");
    if (says("refused")) return settlement("not-applied");
    if (status === "lost") return settlement("unknown");
    if (status === "half") return settlement("consumed", { memo: `${receipt.memo}!`, retentionSeconds: 5 });
    return null;
  },
};

export const resolution = {
  question(r) {
    if (r.memo === "") return null;
    if (r.memo === "fail") fail("no question");
    const all = [r.route, r.method, r.authority, r.path, or(r.principal), r.keySchema, r.firstAttempt, r.memo];
    return get(`/q?n=${r.attempts}`, [{ name: "x-all", value: all.join(" ") }]);
  },

  reading(receipt, asked, answer) {
    if (answer.status === 409) return consumed();
    if (answer.status === 404) return didNotHappen();
    if (answer.status === 202) return stillUnknown();
    if (answer.status === 500) fail("status 500");
    if (asked.path.startsWith("/q")) return ask(get(`/one/${bodyText(answer)}`));
    const fields = [
      { name: "content-type", value: "text/plain" },
      { name: "x-asked", value: asked.path },
      { name: "x-ref", value: or(field(answer, "x-ref")) },
    ];
    return happened(201, fields, bodyText(answer));
  },
};

export const presentation = {
  present(receipt, operation, reply) {
    const id = textAt(operation, 0);
    if (id == null) return null;
    if (id === "fail") fail("no words");
    const set = [{ name: "x-for", value: or(receipt.principal) }];
    return changes({ set, remove: ["x-kept"], body: `${id}:${bodyText(reply)}` });
  },

  explain(operation, p) {
    if (p.code === "expired") return null;
    if (p.code === "draining") fail(p.code);
    const all = [
      p.code, p.status, p.detail, or(p.operationId), or(p.outcome), p.retryable ? "yes" : "no", or(p.retryAfterSeconds),
      or(p.firstStatus), or(p.firstLocation), or(textAt(operation, 0)),
    ];
    return wording(200, "text/plain", all.join(" "));
  },
};
