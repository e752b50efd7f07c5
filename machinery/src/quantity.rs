//! `resource.Quantity`: the exact decimal numbers of requests, limits and capacities.
//!
//! Enter at [`Quantity::parse`]; print with `Display`, which gives upstream's canonical form. A quantity is an integer
//! times a power of ten and never a float. It knows nothing of resource names or of what is a sensible amount.
//!
//! Limit: 38 digits, as written and as printed (upstream has no limit for decimal forms); more is refused as not numeric.
//! Rule: apimachinery's `pkg/api/resource` (Kubernetes concept: resource units).

mod format;
mod parse;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;

/// The smallest power of ten that is kept: anything finer is rounded away from zero when parsed.
pub(crate) const NANO: i32 = -9;

/// Two numbers of so many digits have a sum that fits.
const SUMMAND_DIGITS_MAX: i32 = 37;

/// Upstream keeps a decimal of up to 18 digits in 64 bits.
const DIGITS_OF_64_BITS: u128 = 10_u128.pow(18);

/// Which family of suffixes a quantity was written with, and is printed with again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Format {
    /// `12e6`
    DecimalExponent,
    /// `12Mi`
    BinarySi,
    /// `12M`
    #[default]
    DecimalSi,
}

/// Why a text is not a quantity. The messages are upstream's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    #[error("unable to parse numeric part of quantity")]
    Numeric,
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

/// A number `mantissa * 10^scale` with the suffix family that it prints in.
///
/// Equality and order are by value: `1024Mi` equals `1Gi`.
#[derive(Clone, Debug, Default)]
pub struct Quantity {
    mantissa: i128,
    scale: i32,
    format: Format,
    /// The text as written, where upstream keeps it although its canonical form differs (`1.500`, `+5`).
    text: Option<Box<str>>,
}

impl Quantity {
    /// Parses any of the written forms: plain, decimal suffix, binary suffix, decimal exponent.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        parse::parse(text)
    }

    /// From a JSON value: a string (surrounding space is dropped, as upstream does) or a number; null is zero.
    pub fn from_value(value: &serde_json::Value) -> Result<Self, ParseError> {
        match value {
            serde_json::Value::String(text) => Self::parse(text.trim()),
            serde_json::Value::Number(number) => Self::parse(&number.to_string()),
            serde_json::Value::Null => Ok(Self::default()),
            _ => Err(ParseError::Format),
        }
    }

    /// A whole number.
    pub fn new(value: i64, format: Format) -> Self {
        Self::scaled(i128::from(value), 0, format)
    }

    /// A number of thousandths.
    pub fn from_milli(milli_value: i64, format: Format) -> Self {
        Self::scaled(i128::from(milli_value), -3, format)
    }

    pub(crate) fn scaled(mantissa: i128, scale: i32, format: Format) -> Self {
        Self { mantissa, scale, format, text: None }
    }

    pub fn format(&self) -> Format {
        self.format
    }

    /// -1, 0 or 1.
    pub fn sign(&self) -> i32 {
        self.mantissa.signum() as i32
    }

    pub fn is_zero(&self) -> bool {
        self.mantissa == 0
    }

    /// The value in whole units, rounded away from zero; capped at the ends of `i64`.
    pub fn value(&self) -> i64 {
        self.scaled_value(0)
    }

    /// The value in thousandths, rounded away from zero; capped at the ends of `i64`.
    pub fn milli_value(&self) -> i64 {
        self.scaled_value(-3)
    }

    /// The value in units of `10^scale`, rounded away from zero; capped at the ends of `i64`.
    pub fn scaled_value(&self, scale: i32) -> i64 {
        let (value, _) = rescale(self.mantissa, self.scale, scale);
        value.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
    }

    /// Whether something is left beside whole ones, down to thousandths, as upstream counts them. What is too large to be
    /// counted has no rest, or one by chance: upstream's count of what it keeps in 64 bits is zero then, that of a number
    /// with more digits or a large binary one wraps.
    pub fn is_fractional(&self) -> bool {
        let (milli, _) = rescale(self.mantissa, self.scale, -3);
        let wraps = self.format == Format::BinarySi || self.mantissa.unsigned_abs() >= DIGITS_OF_64_BITS;
        match i64::try_from(milli) {
            Ok(milli) => milli % 1000 != 0,
            Err(_) => wraps && (milli as i64) % 1000 != 0,
        }
    }

    /// Rounds away from zero to a multiple of `10^scale`. False when that lost precision.
    pub fn round_up(&mut self, scale: i32) -> bool {
        if self.scale >= scale {
            return true;
        }
        let (mantissa, exact) = rescale(self.mantissa, self.scale, scale);
        *self = Self::scaled(mantissa, scale, self.format);
        exact
    }

    /// Adds; a zero takes the other's format, as upstream does.
    pub fn add(&mut self, other: &Self) {
        let format = if self.is_zero() { other.format } else { self.format };
        *self = if other.is_zero() {
            Self::scaled(self.mantissa, self.scale, format)
        } else if self.is_zero() {
            Self::scaled(other.mantissa, other.scale, format)
        } else {
            let scale = common_scale(self, other);
            let (left, _) = rescale(self.mantissa, self.scale, scale);
            let (right, _) = rescale(other.mantissa, other.scale, scale);
            Self::scaled(left.saturating_add(right), scale, format)
        };
    }

    /// Subtracts; a zero takes the other's format, as upstream does.
    pub fn sub(&mut self, other: &Self) {
        self.add(&other.negated());
    }

    pub fn multiply(&mut self, factor: i64) {
        *self = Self::scaled(self.mantissa.saturating_mul(i128::from(factor)), self.scale, self.format);
    }

    pub fn negated(&self) -> Self {
        Self::scaled(self.mantissa.saturating_neg(), self.scale, self.format)
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_sign = self.sign().cmp(&other.sign());
        if by_sign != Ordering::Equal || self.is_zero() {
            return by_sign;
        }
        let magnitudes = compare_magnitude(self, other);
        if self.mantissa < 0 { magnitudes.reverse() } else { magnitudes }
    }
}

/// Orders two values that are not zero by size. Digit counts decide first, so that aligning the scales cannot overflow.
fn compare_magnitude(left: &Quantity, right: &Quantity) -> Ordering {
    let digits = |q: &Quantity| i64::from(q.mantissa.unsigned_abs().ilog10()) + i64::from(q.scale);
    digits(left).cmp(&digits(right)).then_with(|| {
        let align = |q: &Quantity, down_to: i32| {
            10u128.checked_pow((q.scale - down_to) as u32).and_then(|f| q.mantissa.unsigned_abs().checked_mul(f))
        };
        let scale = left.scale.min(right.scale);
        // Equal digit counts: the shifted side has as many digits as the other, which fits in 128 bits.
        align(left, scale).unwrap_or(u128::MAX).cmp(&align(right, scale).unwrap_or(u128::MAX))
    })
}

/// The scale to add two values at: the finer one's, or as fine as the coarser one can be told in. What is finer still
/// is rounded, where telling both exactly would make a large value a small one.
fn common_scale(left: &Quantity, right: &Quantity) -> i32 {
    let (coarse, fine) = if left.scale >= right.scale { (left, right) } else { (right, left) };
    let digits = coarse.mantissa.unsigned_abs().checked_ilog10().map_or(0, |log| log as i32 + 1);
    fine.scale.max(coarse.scale - (SUMMAND_DIGITS_MAX - digits).max(0))
}

/// `mantissa * 10^from` in units of `10^to`, rounded away from zero; the flag says whether it is exact.
pub(crate) fn rescale(mantissa: i128, from: i32, to: i32) -> (i128, bool) {
    if mantissa == 0 || from == to {
        return (mantissa, true);
    }
    let distance = (i64::from(from) - i64::from(to)).unsigned_abs();
    let factor = u32::try_from(distance).ok().and_then(|d| 10i128.checked_pow(d));
    if from > to {
        let saturated = if mantissa < 0 { i128::MIN } else { i128::MAX };
        let value = factor.and_then(|f| mantissa.checked_mul(f));
        return (value.unwrap_or(saturated), value.is_some());
    }
    match factor {
        Some(factor) if mantissa % factor == 0 => (mantissa / factor, true),
        Some(factor) => (mantissa / factor + mantissa.signum(), false),
        None => (mantissa.signum(), false),
    }
}

impl std::str::FromStr for Quantity {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        Self::parse(text)
    }
}
