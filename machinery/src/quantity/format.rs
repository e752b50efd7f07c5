//! A [`Quantity`]'s canonical text: no fraction, the largest suffix that loses nothing.

use std::fmt;

use super::{Format, Quantity, rescale};

/// Suffixes of 10^-9, 10^-6, … 10^18.
const DECIMAL: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
/// Beyond, a number is told by its exponent: a client's short text may not become a long one.
const SUFFIXED_MAX: i32 = 36;
/// Suffixes of 1024^0, 1024^1, … 1024^6.
const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(text) = &self.text {
            return f.write_str(text);
        }
        if self.is_zero() {
            return f.write_str("0");
        }
        match self.format {
            Format::BinarySi => match self.whole_at_least_1024() {
                Some(value) => binary(f, value),
                None => self.decimal(f, Format::DecimalSi),
            },
            format => self.decimal(f, format),
        }
    }
}

impl Quantity {
    /// The value, if binary suffixes can show it without loss: whole, and 1024 or more in size.
    fn whole_at_least_1024(&self) -> Option<i128> {
        let (value, exact) = rescale(self.mantissa, self.scale, 0);
        (exact && value.unsigned_abs() >= 1024).then_some(value)
    }

    /// The mantissa and scale of the same number without zeros at the mantissa's end.
    pub(super) fn trimmed(&self) -> (i128, i32) {
        let (mut mantissa, mut scale) = (self.mantissa, self.scale);
        while mantissa != 0 && mantissa % 10 == 0 {
            mantissa /= 10;
            scale += 1;
        }
        (mantissa, scale)
    }

    fn decimal(&self, f: &mut fmt::Formatter<'_>, format: Format) -> fmt::Result {
        let (mantissa, mut exponent) = self.trimmed();
        let mut zeros = exponent.rem_euclid(3) as usize;
        exponent -= zeros as i32;
        if format == Format::DecimalExponent || exponent > SUFFIXED_MAX {
            write!(f, "{mantissa}{:0<zeros$}", "")?;
            return if exponent == 0 { Ok(()) } else { write!(f, "e{exponent}") };
        }
        // Upstream drops the suffix of what is larger than its largest one; here the number carries the rest.
        if exponent > 18 {
            zeros += (exponent - 18) as usize;
            exponent = 18;
        }
        let index = usize::try_from(exponent / 3 + 3).unwrap_or_default();
        write!(f, "{mantissa}{:0<zeros$}{}", "", DECIMAL[index])
    }
}

fn binary(f: &mut fmt::Formatter<'_>, mut value: i128) -> fmt::Result {
    let mut index = 0;
    while value % 1024 == 0 && index + 1 < BINARY.len() {
        value /= 1024;
        index += 1;
    }
    write!(f, "{value}{}", BINARY[index])
}

impl serde::Serialize for Quantity {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Quantity {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        Self::from_value(&value).map_err(serde::de::Error::custom)
    }
}
