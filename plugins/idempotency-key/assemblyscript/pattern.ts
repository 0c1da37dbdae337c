// The part of regular expressions that all languages of this policy read alike: literals, classes, \d
// and \w of ASCII, ., groups, |, *, +, ?, {m,n}, ^ and $. All else is a fault. A pattern becomes steps
// that are taken for all ways at once (Thompson's way), so that no key takes long.

const MOST_STEPS = 4096;
const DEEPEST = 50;

enum Op { Class, Split, Jump, Begin, End }

/** Targets are counted from the step itself, so that steps can be moved and repeated. */
class Step {
  constructor(readonly op: Op, readonly first: i32, readonly second: i32, readonly ranges: i32[], readonly not: bool) {}
}

function split(first: i32, second: i32): Step[] { return [new Step(Op.Split, first, second, [], false)]; }
function jump(by: i32): Step[] { return [new Step(Op.Jump, by, 0, [], false)]; }
function oneOf(ranges: i32[], not: bool): Step[] { return [new Step(Op.Class, 0, 0, ranges, not)]; }

const DIGITS: i32[] = [0x30, 0x39];
const WORDS: i32[] = [0x30, 0x39, 0x41, 0x5a, 0x5f, 0x5f, 0x61, 0x7a];
const OTHERS: i32[] = [0, 0x2f, 0x3a, 0x10ffff];
const NO_WORDS: i32[] = [0, 0x2f, 0x3a, 0x40, 0x5b, 0x5e, 0x60, 0x60, 0x7b, 0x10ffff];

export class Pattern {
  /** What isn't understood; empty: all is. */
  fault: string = "";
  private steps: Step[] = [];
  private at: i32 = 0;
  private depth: i32 = 0;

  constructor(private text: string) {
    this.steps = this.alternatives();
    // Operators on classes, for some.
    if (text.includes("&&") || text.includes("~~")) this.wrong("&& and ~~ are not taken");
    if (this.at < text.length) this.wrong("a parenthesis closes what wasn't opened");
  }

  // --- reading --------------------------------------------------------------------------------------

  private wrong(why: string): Step[] {
    if (this.fault == "") this.fault = why;
    this.at = this.text.length;
    return [];
  }

  private next(): string {
    return this.at < this.text.length ? String.fromCodePoint(this.text.codePointAt(this.at)) : "";
  }

  private take(): string {
    const next = this.next();
    this.at += next.length;
    return next;
  }

  private skip(what: string): bool {
    if (this.next() != what) return false;
    this.at += what.length;
    return true;
  }

  private alternatives(): Step[] {
    let all = this.sequence();
    while (this.skip("|")) {
      const other = this.sequence();
      all = split(1, all.length + 2).concat(all).concat(jump(other.length + 1)).concat(other);
    }
    return all.length > MOST_STEPS ? this.wrong("it is too large") : all;
  }

  private sequence(): Step[] {
    let all: Step[] = [];
    while (this.at < this.text.length && this.next() != "|" && this.next() != ")") {
      if (this.skip("^")) all.push(new Step(Op.Begin, 0, 0, [], false));
      else if (this.skip("$")) all.push(new Step(Op.End, 0, 0, [], false));
      else all = all.concat(this.counted(this.atom()));
      if (all.length > MOST_STEPS) return this.wrong("it is too large");
    }
    return all;
  }

  private atom(): Step[] {
    const c = this.take();
    if (c == "(") return this.group();
    if (c == "[") return this.class();
    if (c == ".") return oneOf([], true);
    if (c == "\\") return oneOf(this.escaped("^$\\.*+?()[]{}|/"), false);
    if ("*+?{}]".includes(c)) return this.wrong("a " + c + " must be escaped where it isn't a count");
    return oneOf([c.codePointAt(0), c.codePointAt(0)], false);
  }

  private group(): Step[] {
    if (this.skip("?") && !this.skip(":")) return this.wrong("of groups with (? only (?: is known");
    if (++this.depth > DEEPEST) return this.wrong("groups lie too deep");
    const inner = this.alternatives();
    this.depth--;
    return this.skip(")") ? inner : this.wrong("a group isn't closed");
  }

  /** What a backslash stands for; `plain` are the characters that stand for themselves. */
  private escaped(plain: string): i32[] {
    const c = this.take();
    if (c == "d") return DIGITS;
    if (c == "D") return OTHERS;
    if (c == "w") return WORDS;
    if (c == "W") return NO_WORDS;
    if (c == "" || !plain.includes(c)) this.wrong("there is no \\" + c);
    return c == "" ? [] : [c.codePointAt(0), c.codePointAt(0)];
  }

  private class(): Step[] {
    const not = this.skip("^");
    let ranges: i32[] = this.skip("-") ? [0x2d, 0x2d] : [];
    for (let empty = true; empty || !this.skip("]"); empty = false) {
      if (!empty && this.skip("-")) {
        if (this.next() != "]") return this.wrong("a - in a class must stand first or last, or be escaped");
        ranges = ranges.concat([0x2d, 0x2d]);
        continue;
      }
      const low = this.member();
      if (this.fault != "") return [];
      const rest = this.text.substr(this.at, 2);
      if (low.length == 2 && low[0] == low[1] && rest.startsWith("-") && rest != "-]") {
        this.at++;
        const high = this.member();
        const one = high.length == 2 && high[0] == high[1] && high[0] >= low[0];
        if (this.fault != "" || !one) return this.wrong("a range of a class isn't one");
        ranges = ranges.concat([low[0], high[0]]);
      } else {
        ranges = ranges.concat(low);
      }
    }
    return oneOf(ranges, not);
  }

  private member(): i32[] {
    const c = this.take();
    if (c == "\\") return this.escaped("^$\\.*+?()[]{}|/-");
    if (c == "" || "[]^-".includes(c)) this.wrong("a class isn't closed, or has a character that must be escaped");
    return c == "" ? [] : [c.codePointAt(0), c.codePointAt(0)];
  }

  /** These steps, as often as what follows says. */
  private counted(one: Step[]): Step[] {
    let least = 0, most = -1;
    if (this.skip("?")) most = 1;
    else if (this.skip("+")) least = 1;
    else if (this.skip("{")) {
      least = most = this.number();
      if (this.skip(",")) most = this.next() == "}" ? -1 : this.number();
      if (!this.skip("}") || least < 0 || (most >= 0 && most < least)) return this.wrong("a count isn't one");
    } else if (!this.skip("*")) return one;
    // Which way is tried first doesn't matter where the whole must fit.
    this.skip("?");
    if (one.length * max(least, most) > MOST_STEPS) return this.wrong("it is too large");
    let all: Step[] = [];
    for (let i = 0; i < least; i++) all = all.concat(one);
    for (let i = least; i < most; i++) all = all.concat(split(1, one.length + 1)).concat(one);
    return most >= 0 ? all : all.concat(split(1, one.length + 2)).concat(one).concat(jump(-one.length - 1));
  }

  private number(): i32 {
    const begin = this.at;
    while (this.at < this.text.length && "0123456789".includes(this.next())) this.at++;
    const digits = this.at - begin;
    if (digits < 1 || digits > 3) this.wrong("a count has one to three digits");
    return <i32>parseInt(this.text.substring(begin, begin + digits));
  }

  // --- matching -------------------------------------------------------------------------------------

  /** Whether the whole key fits. */
  fits(key: string): bool {
    // Where a step was reached last: each counts once at a place.
    const reached = new StaticArray<i32>(this.steps.length + 1);
    let now: i32[] = [];
    this.follow(0, 0, key.length == 0, reached, now);
    for (let at = 0; at < key.length && now.length > 0;) {
      const point = key.codePointAt(at);
      at += point > 0xffff ? 2 : 1;
      const then: i32[] = [];
      for (let i = 0; i < now.length; i++) {
        if (now[i] == this.steps.length || !takes(this.steps[now[i]], point)) continue;
        this.follow(now[i] + 1, at, at == key.length, reached, then);
      }
      now = then;
    }
    return now.includes(this.steps.length);
  }

  /** The steps that take a character, or the end, and can be reached from here without one. */
  private follow(from: i32, at: i32, last: bool, reached: StaticArray<i32>, to: i32[]): void {
    const open: i32[] = [from];
    while (open.length > 0) {
      const here = open.pop();
      if (reached[here] == at + 1) continue;
      reached[here] = at + 1;
      if (here == this.steps.length || this.steps[here].op == Op.Class) {
        to.push(here);
        continue;
      }
      const step = this.steps[here];
      if (step.op == Op.Split) open.push(here + step.second);
      if (step.op == Op.Split || step.op == Op.Jump) open.push(here + step.first);
      if ((step.op == Op.Begin && at == 0) || (step.op == Op.End && last)) open.push(here + 1);
    }
  }
}

function takes(step: Step, point: i32): bool {
  for (let i = 0; i < step.ranges.length; i += 2) {
    if (point >= step.ranges[i] && point <= step.ranges[i + 1]) return !step.not;
  }
  return step.not;
}
