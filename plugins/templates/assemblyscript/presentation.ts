// What the host calls where policy.ts exports `present` and `explain`. Nothing of the policy is here.

import { Problem, Receipt, Reply, operationAt, release } from "./oncegate";
import { explain as explainPolicy, present as presentPolicy } from "./policy";

// The arguments lie one after the other.
export function present(at: usize): usize {
  return presentPolicy(new Receipt(at), operationAt(at + 80), new Reply(at + 108)).at;
}

export function cabi_post_present(result: usize): void {
  release();
}

export function explain(at: usize): usize {
  return explainPolicy(operationAt(at), new Problem(at + 28)).at;
}

export function cabi_post_explain(result: usize): void {
  release();
}
