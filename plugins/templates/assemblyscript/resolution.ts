// What the host calls where policy.ts exports `question` and `reading`. Nothing of the policy is here.

import { Asked, Receipt, Reply, release } from "./oncegate";
import { question as questionPolicy, reading as readingPolicy } from "./policy";

export function question(at: usize): usize {
  return questionPolicy(new Receipt(at)).at;
}

export function cabi_post_question(result: usize): void {
  release();
}

// The arguments lie one after the other.
export function reading(at: usize): usize {
  return readingPolicy(new Receipt(at), new Asked(at + 80), new Reply(at + 116)).at;
}

export function cabi_post_reading(result: usize): void {
  release();
}
