//! The key in a header: a string of RFC 9651 or, unless `strict`, the same without its quotes.
//! Parameters of a string are read and left out.

const BYTES_MAX: usize = 255;

/// The key; an `Err` tells the caller what is wrong.
pub fn parse(value: &str, strict: bool) -> Result<String, &'static str> {
    let value = value.trim_matches([' ', '\t']);
    let (key, rest) = match value.strip_prefix('"') {
        Some(quoted) => unquoted(quoted).ok_or("it is no string as RFC 9651 has it")?,
        None if strict => return Err("it must be in double quotes"),
        None => {
            // What would make it a list, or end it for another reader, must be quoted.
            let is_plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'"' | b',' | b';');
            if value.starts_with('(') || !value.bytes().all(is_plain) {
                return Err("it has a character that must stand in double quotes");
            }
            (value.to_owned(), "")
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
    while !rest.is_empty() {
        let Some(name) = rest.strip_prefix(';').map(|rest| rest.trim_start_matches(' ')) else {
            return false;
        };
        if !name.starts_with(|c: char| c.is_ascii_lowercase() || c == '*') {
            return false;
        }
        rest = past(name, |b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.' | b'*')).1;
        if let Some(value) = rest.strip_prefix('=') {
            let Some(after) = past_value(value) else { return false };
            rest = after;
        }
    }
    true
}

/// What follows a parameter's value; none where it is no such value.
fn past_value(text: &str) -> Option<&str> {
    match text.bytes().next()? {
        b'"' => unquoted(&text[1..]).map(|(_, rest)| rest),
        b'?' => text[1..].strip_prefix(['0', '1']),
        b'@' => past_number(&text[1..], false),
        b'%' => past_shown(text[1..].strip_prefix('"')?),
        b':' => {
            let (letters, rest) =
                past(&text[1..], |b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'));
            rest.trim_start_matches('=').strip_prefix(':').filter(|_| letters % 4 != 1)
        }
        b'*' | b'a'..=b'z' | b'A'..=b'Z' => {
            Some(past(text, |b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&b)).1)
        }
        _ => past_number(text, true),
    }
}

fn past_number(text: &str, decimals: bool) -> Option<&str> {
    let (digits, rest) = past(text.strip_prefix('-').unwrap_or(text), |b| b.is_ascii_digit());
    match rest.strip_prefix('.') {
        Some(rest) if decimals => {
            let (more, rest) = past(rest, |b| b.is_ascii_digit());
            ((1..=12).contains(&digits) && (1..=3).contains(&more)).then_some(rest)
        }
        _ => (1..=15).contains(&digits).then_some(rest),
    }
}

/// A string to be shown, whose opening quote was taken: percent signs stand for what isn't ASCII.
fn past_shown(text: &str) -> Option<&str> {
    let (shown, rest) = text.split_once('"')?;
    let hex = |piece: &str| {
        piece.len() >= 2 && piece.bytes().take(2).all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let fits = shown.bytes().all(|b| matches!(b, b' '..=b'~')) && shown.split('%').skip(1).all(hex);
    fits.then_some(rest)
}

/// How many bytes of a kind there are, and what follows them.
fn past(text: &str, is: impl Fn(u8) -> bool) -> (usize, &str) {
    let count = text.bytes().take_while(|b| is(*b)).count();
    (count, &text[count..])
}
