//! From text to a [`Quantity`]. Enter at [`parse`].
//!
//! Upstream's scanner is more lenient than its regular expression: a missing number is zero (`Ki`, `-`, `.`), and so here.

use super::{Format, NANO, ParseError, Quantity, rescale};

/// The three runs of characters that a quantity is made of, leading zeros of the number dropped.
struct Pieces<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
    suffix: &'a str,
}

/// What a suffix multiplies by.
#[derive(Clone, Copy)]
enum Multiplier {
    Ten(i32),
    Two(u32),
}

pub(super) fn parse(text: &str) -> Result<Quantity, ParseError> {
    if text.is_empty() {
        return Err(ParseError::Format);
    }
    let pieces = split(text)?;
    let (multiplier, format) = interpret(pieces.suffix).ok_or(ParseError::Suffix)?;
    let mut quantity = match multiplier {
        Multiplier::Ten(exponent) => decimal(&pieces, exponent, format)?,
        Multiplier::Two(exponent) => binary(&pieces, exponent)?,
    };
    if pieces.negative {
        quantity = quantity.negated();
    }
    if keeps_text(&pieces, multiplier) && quantity.to_string() != text {
        quantity.text = Some(text.into());
    }
    Ok(quantity)
}

/// Cuts the text; refuses characters that belong to no piece.
fn split(text: &str) -> Result<Pieces<'_>, ParseError> {
    let (negative, rest) = match text.as_bytes()[0] {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (whole, rest) = take(rest.trim_start_matches('0'), |b| b.is_ascii_digit());
    let (fraction, suffix) = match rest.strip_prefix('.') {
        Some(rest) => take(rest, |b| b.is_ascii_digit()),
        None => ("", rest),
    };
    let (_, exponent) = take(suffix, |b| b"eEinumkKMGTP".contains(&b));
    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    if !exponent.bytes().all(|b| b.is_ascii_digit()) {
        return Err(ParseError::Format);
    }
    Ok(Pieces { negative, whole, fraction, suffix })
}

fn take(text: &str, accept: impl Fn(u8) -> bool) -> (&str, &str) {
    let end = text.bytes().position(|b| !accept(b)).unwrap_or(text.len());
    text.split_at(end)
}

fn interpret(suffix: &str) -> Option<(Multiplier, Format)> {
    let ten = |exponent| Some((Multiplier::Ten(exponent), Format::DecimalSi));
    let two = |exponent| Some((Multiplier::Two(exponent), Format::BinarySi));
    match suffix {
        "n" => ten(-9),
        "u" => ten(-6),
        "m" => ten(-3),
        "" => ten(0),
        "k" => ten(3),
        "M" => ten(6),
        "G" => ten(9),
        "T" => ten(12),
        "P" => ten(15),
        "E" => ten(18),
        "Ki" => two(10),
        "Mi" => two(20),
        "Gi" => two(30),
        "Ti" => two(40),
        "Pi" => two(50),
        "Ei" => two(60),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E'])?.parse::<i64>().ok()?;
            // Upstream cuts the exponent to 32 bits without a check; an absurd one is refused here.
            let exponent = i32::try_from(exponent).ok().filter(|e| e.abs() < 1 << 24)?;
            Some((Multiplier::Ten(exponent), Format::DecimalExponent))
        }
    }
}

/// All digits of the number as one integer, and how many of them are behind the point.
fn digits(pieces: &Pieces<'_>) -> Result<(i128, i32), ParseError> {
    let fraction = pieces.fraction.trim_end_matches('0');
    let mut number: i128 = 0;
    for digit in pieces.whole.bytes().chain(fraction.bytes()) {
        let next = number.checked_mul(10).and_then(|n| n.checked_add(i128::from(digit - b'0')));
        number = next.ok_or(ParseError::Numeric)?;
    }
    Ok((number, i32::try_from(fraction.len()).map_err(|_| ParseError::Numeric)?))
}

fn decimal(pieces: &Pieces<'_>, exponent: i32, format: Format) -> Result<Quantity, ParseError> {
    let (mantissa, behind) = digits(pieces)?;
    let mut quantity = Quantity::scaled(mantissa, exponent - behind, format);
    quantity.round_up(NANO);
    // It is printed with an exponent that is a multiple of three, and must be read again: the zeros for that have to fit.
    let (mantissa, scale) = quantity.trimmed();
    let printed = mantissa.checked_mul(10_i128.pow(scale.rem_euclid(3) as u32));
    printed.map(|_| quantity).ok_or(ParseError::Numeric)
}

/// Binary forms are whole or cut to nano, and capped at the largest `i64`.
fn binary(pieces: &Pieces<'_>, exponent: u32) -> Result<Quantity, ParseError> {
    let (mantissa, behind) = digits(pieces)?;
    let mantissa = mantissa.checked_mul(1 << exponent).ok_or(ParseError::Numeric)?;
    let (mantissa, scale) =
        if -behind < NANO { (rescale(mantissa, -behind, NANO).0, NANO) } else { (mantissa, -behind) };
    let largest = Quantity::new(i64::MAX, Format::BinarySi);
    let one = Quantity::new(1, Format::DecimalSi);
    let quantity = Quantity::scaled(mantissa, scale, Format::BinarySi);
    Ok(match quantity {
        q if q > largest => largest,
        q if !q.is_zero() && q < one => Quantity::scaled(mantissa, scale, Format::DecimalSi),
        q => q,
    })
}

/// Whether upstream keeps the written text as it is: it takes a number that needs no shifting for canonical already, so
/// `1.500`, `+5` and `1E3` come back unchanged from the server.
fn keeps_text(pieces: &Pieces<'_>, multiplier: Multiplier) -> bool {
    let whole = if pieces.whole.is_empty() { "0" } else { pieces.whole };
    let length = (whole.len() + pieces.fraction.len()) as i64;
    let shifted_ends_in_thousands = || {
        let zeros = |text: &str| text.bytes().rev().take_while(|b| *b == b'0').count();
        let behind = zeros(pieces.fraction);
        behind >= 3 || (behind == pieces.fraction.len() && behind + zeros(whole) >= 3)
    };
    match multiplier {
        Multiplier::Ten(exponent) => {
            let scale = i64::from(exponent) - pieces.fraction.len() as i64;
            length <= 18
                && scale >= i64::from(NANO)
                && scale % 3 == 0
                && !whole.starts_with('0')
                && !shifted_ends_in_thousands()
        }
        Multiplier::Two(exponent) => {
            let room = 14 - whole.len() as i64 - i64::from(exponent * 3 / 10);
            let low_bits = whole.parse::<i64>().is_ok_and(|value| value & 7 != 0);
            pieces.fraction.is_empty() && room >= 0 && low_bits
        }
    }
}
