// What the host calls. Nothing of the policy is here: it is in policy.ts. The other hooks are in
// outcome.ts, resolution.ts and presentation.ts, which are taken in where policy.ts has them.

import { lower, planResult, operationOf, Settings, keep, release } from "./oncegate";
import { configure as configurePolicy, decide as decidePolicy } from "./policy";

export function cabi_realloc(old: usize, oldSize: usize, align: usize, size: usize): usize {
  return lower(old, oldSize, size);
}

export function configure(settings: usize, length: usize): usize {
  return planResult(configurePolicy(new Settings(settings, length)));
}

// What configure has made stays; what a decision makes is gone after it.
export function cabi_post_configure(result: usize): void {
  keep();
}

export function decide(
  method: usize, methodLength: usize, fields: usize, count: usize, payload: u32, first: usize, second: usize,
): usize {
  return decidePolicy(operationOf(method, methodLength, fields, count, payload, first, second)).at;
}

export function cabi_post_decide(result: usize): void {
  release();
}
