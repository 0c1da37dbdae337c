// The key in a header: a string of RFC 9651 or, unless strict, the same without its quotes.
// Parameters of a string are read and left out.

const DIGIT = "0123456789";
const HEX = DIGIT + "abcdef";
const SMALL = "abcdefghijklmnopqrstuvwxyz";
const NAME = SMALL + DIGIT + "_-.*";
const BASE64 = SMALL + "ABCDEFGHIJKLMNOPQRSTUVWXYZ" + DIGIT + "+/";
const TOKEN = BASE64 + "!#$%&'*-.^_`|~:";

export class Key {
  text: string = "";
  /** What is wrong, for the caller to read; empty: nothing is. */
  fault: string = "";
  private at: i32 = 0;

  constructor(private value: string, strict: bool) {
    while (value.endsWith(" ") || value.endsWith("\t")) value = value.substring(0, value.length - 1);
    this.value = value;
    while (this.next() == 0x20 || this.next() == 0x09) this.at++;
    if (this.next() == 0x22) {
      if (!this.quoted()) this.fault = "it is no string as RFC 9651 has it";
    } else if (strict) {
      this.fault = "it must be in double quotes";
    } else if (!this.bare()) {
      this.fault = "it has a character that must stand in double quotes";
    }
    if (this.fault == "") this.judge();
  }

  private judge(): void {
    const text = this.text;
    if (!this.parameters()) this.fault = "what follows it are no parameters";
    else if (text.length == 0) this.fault = "it is empty";
    // A parameter in quotes was read by the same function.
    this.text = text;
  }

  private next(): i32 {
    return this.at < this.value.length ? this.value.charCodeAt(this.at) : -1;
  }

  private quoted(): bool {
    let text = "";
    this.at++;
    while (true) {
      let c = this.next();
      this.at++;
      if (c == 0x22) {
        this.text = text;
        return true;
      }
      if (c == 0x5c) {
        c = this.next();
        this.at++;
        if (c != 0x22 && c != 0x5c) return false;
      }
      if (c < 0x20 || c > 0x7e) return false;
      text += String.fromCharCode(c);
    }
  }

  private bare(): bool {
    // What would make it a list, or end it for another reader, must be quoted.
    if (this.next() == 0x28 || this.value.includes(",")) return false;
    const begin = this.at;
    for (; this.next() >= 0; this.at++) {
      const c = this.next();
      if (c < 0x21 || c > 0x7e || c == 0x22 || c == 0x3b) return false;
    }
    this.text = this.value.substring(begin);
    return true;
  }

  /** `;name` or `;name=value`, any number of times. */
  private parameters(): bool {
    while (this.next() >= 0) {
      if (this.next() != 0x3b) return false;
      this.at++;
      while (this.next() == 0x20) this.at++;
      const first = this.next();
      if (first != 0x2a && (first < 0x61 || first > 0x7a)) return false;
      this.past(NAME);
      if (this.next() != 0x3d) continue;
      this.at++;
      if (!this.parameter()) return false;
    }
    return true;
  }

  /** What a parameter may be. */
  private parameter(): bool {
    const c = this.next();
    if (c == 0x22) return this.quoted();
    if (c == 0x3a) return this.bytes();
    if (c == 0x25) return this.shown();
    if (c == 0x2a || isLetter(c)) return this.past(TOKEN) > 0;
    if (c == 0x40 || c == 0x3f) this.at++;
    if (c == 0x3f) return this.past("01") == 1;
    return this.number(c != 0x40);
  }

  private number(decimals: bool): bool {
    if (this.next() == 0x2d) this.at++;
    const digits = this.past(DIGIT);
    if (!decimals || this.next() != 0x2e) return digits >= 1 && digits <= 15;
    this.at++;
    const more = this.past(DIGIT);
    return digits >= 1 && digits <= 12 && more >= 1 && more <= 3;
  }

  /** Bytes in base64, between colons. */
  private bytes(): bool {
    this.at++;
    const letters = this.past(BASE64);
    this.past("=");
    return this.next() == 0x3a && this.at++ > 0 && letters % 4 != 1;
  }

  /** A string to be shown: percent signs stand for what isn't ASCII. */
  private shown(): bool {
    this.at++;
    if (this.next() != 0x22) return false;
    this.at++;
    for (; this.next() != 0x22; this.at++) {
      if (this.next() < 0x20 || this.next() > 0x7e) return false;
      if (this.next() != 0x25) continue;
      for (let i = 0; i < 2; i++) {
        this.at++;
        if (this.next() < 0 || HEX.indexOf(this.value.charAt(this.at)) < 0) return false;
      }
    }
    return this.at++ > 0;
  }

  /** How many of these characters there are. */
  private past(set: string): i32 {
    const begin = this.at;
    while (this.next() >= 0 && set.indexOf(this.value.charAt(this.at)) >= 0) this.at++;
    return this.at - begin;
  }
}

function isLetter(c: i32): bool {
  return (c >= 0x61 && c <= 0x7a) || (c >= 0x41 && c <= 0x5a);
}
