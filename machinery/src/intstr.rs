//! `IntOrString`: a number, or a text that is a percentage or a port's name.
//!
//! Enter at [`IntOrString::from_value`]; [`IntOrString::scaled_value`] turns numbers and percentages into a count.

use std::fmt;

use serde_json::Value;

use crate::field::quote;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum IntOrString {
    Int(i32),
    String(String),
}

/// Why a value is no count. The words are upstream's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("invalid value for IntOrString: invalid type: string is not a percentage")]
    NotAPercentage,
    #[error("invalid value for IntOrString: invalid value {}: strconv.Atoi: parsing {}: invalid syntax", quote(.0), quote(.1))]
    NotANumber(String, String),
}

/// Which way a percentage of a total goes to a whole number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Round {
    Up,
    Down,
}

impl IntOrString {
    /// `None` when the value is neither a 32-bit integer nor a string.
    pub fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) => Some(Self::String(text.clone())),
            Value::Number(number) => Some(Self::Int(i32::try_from(number.as_i64()?).ok()?)),
            _ => None,
        }
    }

    /// A text that is a 32-bit integer becomes one (command lines write ports so).
    pub fn parse(text: &str) -> Self {
        text.parse().map_or_else(|_| Self::String(text.to_owned()), Self::Int)
    }

    pub fn to_value(&self) -> Value {
        match self {
            Self::Int(number) => Value::from(*number),
            Self::String(text) => Value::from(text.as_str()),
        }
    }

    /// The number, or the percentage of `total`, rounded as told.
    pub fn scaled_value(&self, total: i32, round: Round) -> Result<i32, Error> {
        let percent = match self {
            Self::Int(number) => return Ok(*number),
            Self::String(text) => percentage(text)?,
        };
        let hundredths = i64::from(percent) * i64::from(total);
        let down = hundredths.div_euclid(100);
        let whole = if round == Round::Up && hundredths.rem_euclid(100) != 0 { down + 1 } else { down };
        Ok(whole.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32)
    }
}

/// The number before a `%` sign.
pub fn percentage(text: &str) -> Result<i32, Error> {
    let number = text.strip_suffix('%').ok_or(Error::NotAPercentage)?;
    number.parse().map_err(|_| Error::NotANumber(text.to_owned(), number.to_owned()))
}

impl fmt::Display for IntOrString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(number) => number.fmt(f),
            Self::String(text) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn scaled_values() {
        let table = [
            (json!(5), 10, 5, 5),
            (json!(-5), 10, -5, -5),
            (json!("25%"), 10, 3, 2),
            (json!("50%"), 10, 5, 5),
            (json!("0%"), 10, 0, 0),
            (json!("100%"), 3, 3, 3),
            (json!("1%"), 1, 1, 0),
            (json!("150%"), 3, 5, 4),
            (json!("-10%"), 15, -1, -2),
        ];
        for (value, total, up, down) in table {
            let parsed = IntOrString::from_value(&value).unwrap();
            assert_eq!(parsed.scaled_value(total, Round::Up), Ok(up), "{value} up");
            assert_eq!(parsed.scaled_value(total, Round::Down), Ok(down), "{value} down");
            assert_eq!(parsed.to_value(), value);
        }
    }

    #[test]
    fn refused() {
        let message = |text: &str| IntOrString::String(text.into()).scaled_value(1, Round::Up).unwrap_err().to_string();
        assert_eq!(message("http"), "invalid value for IntOrString: invalid type: string is not a percentage");
        assert_eq!(
            message("a%"),
            "invalid value for IntOrString: invalid value \"a%\": strconv.Atoi: parsing \"a\": invalid syntax"
        );
        for value in [json!(1.5), json!(3_000_000_000u64), json!(null), json!([])] {
            assert_eq!(IntOrString::from_value(&value), None, "{value}");
        }
        assert_eq!(IntOrString::parse("80"), IntOrString::Int(80));
        assert_eq!(IntOrString::parse("http"), IntOrString::String("http".into()));
    }
}
