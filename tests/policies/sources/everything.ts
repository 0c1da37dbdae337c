// A policy that says everything there is to say: what it says must arrive as it is meant.

import {
  Answer, Attribute, Field, Level, Operation, Plan, Settings, attribute, bypass, document, failed, guard, log, missing,
  refuse, text,
} from "./oncegate";

export function configure(settings: Settings): Plan {
  const name = settings.texts("name");
  const plan = new Plan("everything/1 name=" + (name.length > 0 ? name[0] : ""));
  plan.requestFields = ["x-a", "x-fail"];
  plan.pointers = ["/a", "/b"];
  return plan;
}

export function decide(operation: Operation): Answer {
  const why = operation.field("x-fail");
  if (why != null) return failed(why);
  const a = operation.values("x-a");
  if (a.length < 2) return bypass("no second x-a");
  const atB = operation.textAt(1);
  if (atB == null) return refuse("no-b", "é");
  log(Level.Warn, "a line");
  const keep = ["/a"], drop = ["/c", "/d"];
  return guard([attribute(Attribute.Query), text(a[1]), text(atB), document(keep, drop), missing()])
    .byDocument(keep, drop)
    .retention(7)
    .tombstone(8)
    .firstSent(9)
    .forward([new Field("x-b", "1")])
    .memo("memo")
    .labels([new Field("size", "x")]);
}
