// The key in a header: a string of RFC 9651 or, unless strict, the same without its quotes.
// Parameters are read and left out.

const MAX = 255;

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
    else if (text.length > MAX) this.fault = "it is longer than 255 bytes";
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
    if (this.next() == 0x28) return false;
    const begin = this.at;
    let end = begin;
    for (; this.next() >= 0 && this.next() != 0x3b; this.at++) {
      const c = this.next();
      if (c == 0x20) continue;
      // A space in the middle.
      if (end != this.at && end != begin) return false;
      if (c < 0x21 || c > 0x7e || c == 0x22 || c == 0x2c) return false;
      end = this.at + 1;
    }
    this.text = this.value.substring(begin, end);
    return true;
  }

  /** `;name` or `;name=value`, any number of times. */
  private parameters(): bool {
    while (true) {
      while (this.next() == 0x20) this.at++;
      if (this.next() < 0) return true;
      if (this.next() != 0x3b) return false;
      this.at++;
      while (this.next() == 0x20) this.at++;
      const begin = this.at;
      while (isName(this.next())) this.at++;
      const first = begin < this.at ? this.value.charCodeAt(begin) : 0;
      if (first != 0x2a && (first < 0x61 || first > 0x7a)) return false;
      if (this.next() != 0x3d) continue;
      this.at++;
      if (this.next() == 0x22) {
        if (!this.quoted()) return false;
        continue;
      }
      const value = this.at;
      while (this.next() > 0x20 && this.next() < 0x7f && '",;()'.indexOf(this.value.charAt(this.at)) < 0) this.at++;
      if (this.at == value) return false;
    }
  }
}

function isName(c: i32): bool {
  return (c >= 0x61 && c <= 0x7a) || (c >= 0x30 && c <= 0x39) || c == 0x5f || c == 0x2d || c == 0x2e || c == 0x2a;
}
