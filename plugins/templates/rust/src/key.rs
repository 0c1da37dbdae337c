//! The key in a header: a string of RFC 9651 or, unless `strict`, the same without its quotes.
//! Parameters are read and left out.

const BYTES_MAX: usize = 255;

/// The key; an `Err` tells the caller what is wrong.
pub fn parse(value: &str, strict: bool) -> Result<String, &'static str> {
    let value = value.trim_matches([' ', '\t']);
    let (key, rest) = match value.strip_prefix('"') {
        Some(quoted) => unquoted(quoted).ok_or("it is no string as RFC 9651 has it")?,
        None if strict => return Err("it must be in double quotes"),
        None => {
            let end = value.find(';').unwrap_or(value.len());
            let key = value[..end].trim_end_matches(' ');
            // What would make it a list, or end it for another reader, must be quoted.
            if key.starts_with('(') || !key.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b',') {
                return Err("it has a character that must stand in double quotes");
            }
            (key.to_owned(), &value[end..])
        }
    };
    if !are_parameters(rest) {
        return Err("what follows it are no parameters");
    }
    match key.len() {
        0 => Err("it is empty"),
        1..=BYTES_MAX => Ok(key),
        _ => Err("it is longer than 255 bytes"),
    }
}

/// A string whose opening quote was taken, and what follows it.
fn unquoted(quoted: &str) -> Option<(String, &str)> {
    let (mut key, mut chars) = (String::new(), quoted.char_indices());
    loop {
        match chars.next()? {
            (at, '"') => return Some((key, &quoted[at + 1..])),
            (_, '\\') => key.push(chars.next().map(|(_, c)| c).filter(|c| matches!(c, '"' | '\\'))?),
            (_, c @ ' '..='~') => key.push(c),
            _ => return None,
        }
    }
}

/// `;name` or `;name=value`, any number of times.
fn are_parameters(mut rest: &str) -> bool {
    loop {
        rest = rest.trim_start_matches(' ');
        let Some(after) = rest.strip_prefix(';') else { return rest.is_empty() };
        rest = after.trim_start_matches(' ');
        let name =
            rest.bytes().take_while(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.' | b'*'));
        let name = name.count();
        if name == 0 || !rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '*') {
            return false;
        }
        rest = &rest[name..];
        let Some(value) = rest.strip_prefix('=') else { continue };
        rest = match value.strip_prefix('"') {
            Some(quoted) => match unquoted(quoted) {
                Some((_, rest)) => rest,
                None => return false,
            },
            None => {
                let value_bytes =
                    value.bytes().take_while(|b| b.is_ascii_graphic() && !b"\",;()".contains(b)).count();
                if value_bytes == 0 {
                    return false;
                }
                &value[value_bytes..]
            }
        };
    }
}
