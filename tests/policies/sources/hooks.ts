// A policy with all hooks, which says what it was told: all of it must arrive, both ways.

import {
  Answer, Asked, Changes, Disposition, Field, Finding, Operation, Outbound, Plan, Problem, Question, Receipt, Reply,
  Settings, Settled, StatusRule, WhenUnknown, WhileRunning, Wording, bypass, guard, text,
} from "./oncegate";

export function configure(settings: Settings): Plan {
  const plan = new Plan("hooks/1");
  plan.requestFields = ["x-key"];
  plan.pointers = ["/id"];
  plan.responseFields = ["x-status"];
  plan.responsePointers = ["/status"];
  plan.outcomes = [new StatusRule(418, 418, Disposition.NotApplied), new StatusRule(500, 504, Disposition.Unknown)];
  return plan;
}

export function decide(operation: Operation): Answer {
  const key = operation.field("x-key");
  if (key == null) return bypass("no key");
  return guard([text(key)]).memo(key).whileRunning(WhileRunning.Wait).whenUnknown(WhenUnknown.Probe);
}

function says(reply: Reply, word: string): bool {
  const all = reply.fields.concat(reply.trailers);
  for (let i = 0; i < all.length; i++) {
    if (all[i].value == word) return true;
  }
  return false;
}

export function settle(receipt: Receipt, reply: Reply): Settled {
  if (says(reply, "fail")) return new Settled().failed("no word on " + reply.status.toString());
  if (!reply.complete) return new Settled().as(Disposition.Completed);
  if (says(reply, "refused")) return new Settled().as(Disposition.NotApplied);
  const status = reply.textAt(0);
  if (status == "lost") return new Settled().as(Disposition.Unknown);
  if (status == "half") return new Settled().as(Disposition.Consumed).memo(or(receipt.memo) + "!").retention(5);
  return new Settled();
}

function or(text: string | null): string {
  return text === null ? "-" : text;
}

export function question(r: Receipt): Question {
  const memo = or(r.memo);
  if (memo == "") return new Question();
  if (memo == "fail") return new Question().failed("no question");
  const asked = new Outbound("/q?n=" + r.attempts.toString());
  const all = [r.route, r.method, r.authority, r.path, or(r.principal), r.keySchema, r.firstAttempt.toString(), memo];
  asked.fields = [new Field("x-all", all.join(" "))];
  return new Question().ask(asked);
}

export function reading(receipt: Receipt, asked: Asked, answer: Reply): Finding {
  if (answer.status == 409) return new Finding().consumed();
  if (answer.status == 404) return new Finding().didNotHappen();
  if (answer.status == 202) return new Finding();
  if (answer.status == 500) return new Finding().failed("status 500");
  if (asked.path.startsWith("/q")) return new Finding().ask(new Outbound("/one/" + answer.whole()));
  const fields = [
    new Field("content-type", "text/plain"), new Field("x-asked", asked.path), new Field("x-ref", or(answer.field("x-ref"))),
  ];
  return new Finding().happened(201, fields, answer.whole());
}

export function present(receipt: Receipt, operation: Operation, reply: Reply): Changes {
  const id = operation.textAt(0);
  if (id == null) return new Changes();
  if (id == "fail") return new Changes().failed("no words");
  const set = [new Field("x-for", or(receipt.principal))];
  return new Changes().set(set).remove(["x-kept"]).body(id + ":" + reply.whole());
}

export function explain(operation: Operation, p: Problem): Wording {
  if (p.code == "expired") return new Wording();
  if (p.code == "draining") return new Wording().failed(p.code);
  const words = ["completed", "consumed", "not-applied", "unknown"];
  const all = [
    p.code, p.status.toString(), p.detail, or(p.operationId), p.outcome < 0 ? "-" : words[p.outcome],
    p.retryable ? "yes" : "no", p.retryAfterSeconds < 0 ? "-" : p.retryAfterSeconds.toString(),
    p.firstStatus == 0 ? "-" : p.firstStatus.toString(), or(p.firstLocation), or(operation.textAt(0)),
  ];
  return new Wording().as(200, [new Field("content-type", "text/plain")], all.join(" "));
}
