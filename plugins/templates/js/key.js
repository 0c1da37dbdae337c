// The key in a header: a string of RFC 9651 or, unless strict, the same without its quotes.
// Parameters are read and left out.

const LONGEST = 255;
const QUOTED = /^"((?:[ !#-\[\]-~]|\\["\\])*)"(.*)$/;
const BARE = /^([!#-')-+\--:<-~][!#-+\--:<-~]*)? *(;.*)?$/;
// `;name` or `;name=value`, any number of times.
const PARAMETERS = /^( *; *[a-z*][a-z0-9_.*-]*(=("([ !#-\[\]-~]|\\["\\])*"|[!#-'*+\--:<-~]+))?)* *$/;

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
  const key = quoted ? found[1].replace(/\\(["\\])/g, "$1") : (found[1] ?? "");
  if (!PARAMETERS.test(found[2] ?? "")) return { fault: "what follows it are no parameters" };
  if (key === "") return { fault: "it is empty" };
  if (key.length > LONGEST) return { fault: "it is longer than 255 bytes" };
  return { key };
}
