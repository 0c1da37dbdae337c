//! Numbers as RFC 8785 writes them, but with every digit that makes a difference. No double comes
//! in between, so that two amounts which only a double confuses stay two.

/// Appends the canonical form of a number in JSON's grammar: equal texts if and only if equal
/// values. `digits` is room to work in.
pub(super) fn write(number: &str, digits: &mut String, out: &mut String) -> Result<(), String> {
    let (negative, magnitude) = match number.strip_prefix('-') {
        Some(magnitude) => (true, magnitude),
        None => (false, number),
    };
    // JSON has no leading zeros, so most integers are in canonical form already.
    if magnitude.len() <= 21 && magnitude.bytes().all(|byte| byte.is_ascii_digit()) {
        out.push_str(if magnitude == "0" { magnitude } else { number });
        return Ok(());
    }
    let (mantissa, exponent) = match magnitude.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().map_err(|_| beyond(number))?),
        None => (magnitude, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    digits.clear();
    digits.push_str(whole);
    digits.push_str(fraction);
    let leading = digits.len() - digits.trim_start_matches('0').len();
    let significant = digits.trim_matches('0');
    if significant.is_empty() {
        out.push('0');
        return Ok(());
    }
    // The value is 0.SIGNIFICANT times ten to the power of `point`.
    let point = i64::from(exponent) + whole.len() as i64 - leading as i64;
    if negative {
        out.push('-');
    }
    lay_out(significant, point, out);
    Ok(())
}

/// Number::toString of ECMAScript, from step 6 on, with `point` for its n.
fn lay_out(digits: &str, point: i64, out: &mut String) {
    let count = digits.len() as i64;
    let zeros = |count: i64, out: &mut String| (0..count).for_each(|_| out.push('0'));
    match point {
        _ if count <= point && point <= 21 => {
            out.push_str(digits);
            zeros(point - count, out);
        }
        1..=21 => {
            let (whole, fraction) = digits.split_at(point as usize);
            out.push_str(whole);
            out.push('.');
            out.push_str(fraction);
        }
        -5..=0 => {
            out.push_str("0.");
            zeros(-point, out);
            out.push_str(digits);
        }
        _ => {
            let (first, rest) = digits.split_at(1);
            out.push_str(first);
            if !rest.is_empty() {
                out.push('.');
                out.push_str(rest);
            }
            out.push_str(if point > 0 { "e+" } else { "e-" });
            out.push_str(&(point - 1).unsigned_abs().to_string());
        }
    }
}

fn beyond(number: &str) -> String {
    let shown: String = number.chars().take(40).collect();
    format!("the number {shown} has an exponent beyond all bounds")
}
