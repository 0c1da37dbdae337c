// The part of regular expressions that all languages of this policy read alike. What is beyond it is
// refused: `[[:alpha:]]` and `\s` mean one thing to JavaScript and another to Rust.

import { fail } from "./oncegate.js";

const MEMBER = String.raw`(?:[^\\[\]^-]|\\[\^$\\.*+?()[\]{}|/-])`;
const CLASS = String.raw`\[\^?-?(?:${MEMBER}(?:-${MEMBER})?|\\[dDwW])+-?\]`;
const ATOM = String.raw`[^\\.*+?()[\]{}|^$]|\\[dDwW\^$\\.*+?()[\]{}|/]|\.|${CLASS}|\)`;
const COUNT = String.raw`(?:[*+?]|\{[0-9]{1,3}(?:,[0-9]{0,3})?\})\??`;
const KNOWN = new RegExp(String.raw`^(?!.*(?:&&|~~))(?:(?:${ATOM})(?:${COUNT})?|\((?:\?:)?|[|^$])*$`, "s");

/** A pattern that fits from end to end. */
export function compile(pattern) {
  if (typeof pattern !== "string" || !KNOWN.test(pattern)) {
    fail("`pattern` must be of literals, classes, \\d, \\w, ., groups, |, *, +, ?, {m,n}, ^ and $");
  }
  // Alone first: `a)|(b` is none, but would be one inside of the parentheses.
  new RegExp(pattern, "su");
  return new RegExp(`^(?:${pattern})$`, "su");
}
