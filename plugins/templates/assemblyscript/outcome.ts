// What the host calls where policy.ts exports `settle`. Nothing of the policy is here.

import { Receipt, Reply, release } from "./oncegate";
import { settle as settlePolicy } from "./policy";

// The arguments lie one after the other.
export function settle(at: usize): usize {
  return settlePolicy(new Receipt(at), new Reply(at + 80)).at;
}

export function cabi_post_settle(result: usize): void {
  release();
}
