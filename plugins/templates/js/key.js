// The key in a header: a string of RFC 9651 or, unless strict, the same without its quotes.
// Parameters of a string are read and left out.

const STRING = String.raw`"(?:[ !#-\[\]-~]|\\["\\])*"`;
// What else a parameter may be: a number, a date, a token, bytes, a truth, a string to be shown.
const VALUE = [
  STRING,
  String.raw`-?[0-9]{1,12}\.[0-9]{1,3}|@?-?[0-9]{1,15}|\?[01]`,
  "[A-Za-z*][!#$%&'*+.^_`|~0-9A-Za-z:/-]*",
  ":(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2,3}=*)?:",
  '%"(?:[ !#$&-~]|%[0-9a-f]{2})*"',
].join("|");
const QUOTED = new RegExp(`^(${STRING})(.*)$`);
// What would make it a list, or end it for another reader, must be quoted.
const BARE = /^([!#-')-+\--:<-~][!#-+\--:<-~]*)?$/;
const PARAMETERS = new RegExp(`^(?:; *[a-z*][a-z0-9_.*-]*(?:=(?:${VALUE}))?)*$`);

/** The key, or the fault, for the caller to read. */
export function parseKey(value, strict) {
  value = value.replace(/^[ \t]+|[ \t]+$/g, "");
  const quoted = value.startsWith('"');
  if (strict && !quoted) return { fault: "it must be in double quotes" };
  const found = (quoted ? QUOTED : BARE).exec(value);
  if (found == null) {
    const bare = "it has a character that must stand in double quotes";
    return { fault: quoted ? "it is no string as RFC 9651 has it" : bare };
  }
  const key = quoted ? found[1].slice(1, -1).replace(/\\(["\\])/g, "$1") : (found[1] ?? "");
  if (!PARAMETERS.test(found[2] ?? "")) return { fault: "what follows it are no parameters" };
  return key === "" ? { fault: "it is empty" } : { key };
}
