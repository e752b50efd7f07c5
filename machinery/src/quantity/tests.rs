//! Quantities: reading, canonical form, arithmetic.

use super::*;

fn quantity(text: &str) -> Quantity {
    Quantity::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn canonical_text() {
    let table = [
        ("0", "0"),
        ("0Ki", "0"),
        ("-0", "0"),
        ("00", "0"),
        (".", "0"),
        ("-", "0"),
        ("Ki", "0"),
        ("1", "1"),
        ("100m", "100m"),
        ("0.1", "100m"),
        ("1.5", "1500m"),
        ("1000m", "1"),
        ("2000", "2k"),
        ("1500", "1500"),
        ("1.5Gi", "1536Mi"),
        ("1024Mi", "1Gi"),
        ("1023Ki", "1023Ki"),
        ("512", "512"),
        ("0.5Ki", "512"),
        ("1.1Ki", "1126400m"),
        ("0.001Ki", "1024m"),
        ("0.0001Ki", "102400u"),
        ("128974848", "128974848"),
        ("129e6", "129e6"),
        ("129M", "129M"),
        ("123Mi", "123Mi"),
        ("1e14", "100e12"),
        ("1e100", "10e99"),
        ("100e3", "100e3"),
        ("10e4", "100e3"),
        ("1e-3", "1e-3"),
        ("0.1n", "1n"),
        ("-0.1n", "-1n"),
        ("0.0000000001", "1n"),
        ("1.0000000001", "1000000001n"),
        ("9Ei", "9223372036854775807"),
        ("10Ei", "9223372036854775807"),
        ("-10Ei", "-9223372036854775807"),
        ("7.9Ei", "9108079886394091110400m"),
        ("3E", "3E"),
        ("1000E", "1000E"),
        ("-2Ki", "-2Ki"),
        ("12345678901234567890", "12345678901234567890"),
        ("99999999999999999999k", "99999999999999999999k"),
    ];
    for (text, canonical) in table {
        assert_eq!(quantity(text).to_string(), canonical, "{text}");
    }
}

#[test]
fn text_that_upstream_keeps() {
    for text in ["+5", "1.500", "1E3", "01", "1.", "+1Ki", "1.234", "1E-3", "1e99"] {
        assert_eq!(quantity(text).to_string(), text);
        let mut changed = quantity(text);
        changed.add(&Quantity::new(0, Format::DecimalSi));
        assert_ne!(changed.to_string(), "", "{text}");
    }
    for (text, canonical) in [("+1.5", "1500m"), ("+1000", "1k"), ("0.5", "500m"), ("+8Ki", "8Ki"), ("1.000", "1")] {
        assert_eq!(quantity(text).to_string(), canonical, "{text}");
    }
}

#[test]
fn refused_text() {
    let table = [
        ("", ParseError::Format),
        ("a", ParseError::Format),
        ("1 ", ParseError::Format),
        ("1.2.3", ParseError::Format),
        ("1x", ParseError::Format),
        ("--1", ParseError::Suffix),
        ("1Kx", ParseError::Format),
        ("1kk", ParseError::Suffix),
        ("1mi", ParseError::Suffix),
        ("1e", ParseError::Suffix),
        ("1K", ParseError::Suffix),
        ("1m5", ParseError::Suffix),
        ("1e3i", ParseError::Format),
        ("1234567890123456789012345678901234567890", ParseError::Numeric),
        ("92233720368547758079999999999999999999e1", ParseError::Numeric),
        ("999999999999999999999999999999.99999999", ParseError::Numeric),
    ];
    for (text, error) in table {
        assert_eq!(Quantity::parse(text).map(|q| q.to_string()), Err(error), "{text}");
    }
}

#[test]
fn whole_and_milli_values_round_away_from_zero() {
    let table = [
        ("1", 1, 1000),
        ("100m", 1, 100),
        ("1001m", 2, 1001),
        ("1u", 1, 1),
        ("-1500m", -2, -1500),
        ("1Gi", 1 << 30, (1 << 30) * 1000),
        ("2k", 2000, 2_000_000),
        ("0", 0, 0),
        ("1e30", i64::MAX, i64::MAX),
        ("8E", 8_000_000_000_000_000_000, i64::MAX),
    ];
    for (text, value, milli_value) in table {
        assert_eq!((quantity(text).value(), quantity(text).milli_value()), (value, milli_value), "{text}");
    }
}

#[test]
fn order_is_by_value() {
    let table = [
        ("1Gi", "1024Mi", Ordering::Equal),
        ("1000m", "1", Ordering::Equal),
        ("0", "0Ki", Ordering::Equal),
        ("100m", "50m", Ordering::Greater),
        ("-1", "1n", Ordering::Less),
        ("-2", "-1", Ordering::Less),
        ("10000T", "100Gi", Ordering::Greater),
        ("1e1000", "9E", Ordering::Greater),
        ("1e1000", "2e1000", Ordering::Less),
        ("0", "-1", Ordering::Greater),
        ("10k", "9999999n", Ordering::Greater),
    ];
    for (left, right, order) in table {
        assert_eq!(quantity(left).cmp(&quantity(right)), order, "{left} {right}");
        assert_eq!(quantity(right).cmp(&quantity(left)), order.reverse(), "{right} {left}");
    }
}

#[test]
fn sums() {
    let table = [
        ("1", "100m", "1100m", "900m"),
        ("0", "1Gi", "1Gi", "-1Gi"),
        ("1Gi", "0", "1Gi", "1Gi"),
        ("1Gi", "512Mi", "1536Mi", "512Mi"),
        ("1Gi", "1M", "1074741824", "1072741824"),
        ("1", "1", "2", "0"),
        ("500m", "500m", "1", "0"),
    ];
    for (left, right, sum, difference) in table {
        let mut quantities = (quantity(left), quantity(left));
        quantities.0.add(&quantity(right));
        quantities.1.sub(&quantity(right));
        assert_eq!(
            (quantities.0.to_string(), quantities.1.to_string()),
            (sum.into(), difference.into()),
            "{left} {right}"
        );
    }
}

/// Told in the finer one's digits it would not fit.
#[test]
fn a_large_sum_stays_large() {
    for small in ["1m", "99999999999999999999999999n", "-1n"] {
        let mut sum = quantity("1e300");
        sum.add(&quantity(small));
        assert!(sum > quantity("9e299") && sum < quantity("2e300"), "{small}: {sum}");
    }
}

/// Of other people's numbers: a text of eight characters is not to become one of millions.
#[test]
fn a_large_number_has_a_short_text() {
    for large in ["1E99999", "1E16000000", "1e300"] {
        let mut sum = quantity("1500m");
        sum.add(&quantity(large));
        let text = sum.to_string();
        assert!(text.len() < 60, "{} characters", text.len());
        assert_eq!(quantity(&text), sum);
    }
}

#[test]
fn json() {
    let from = |json: &str| Quantity::from_value(&serde_json::from_str(json).unwrap()).map(|q| q.to_string());
    assert_eq!(from("\" 1Gi \""), Ok("1Gi".into()));
    assert_eq!(from("2"), Ok("2".into()));
    assert_eq!(from("0.5"), Ok("500m".into()));
    assert_eq!(from("null"), Ok("0".into()));
    assert_eq!(from("true"), Err(ParseError::Format));
    assert_eq!(serde_json::to_string(&quantity("1.5")).unwrap(), "\"1500m\"");
}

/// Over many amounts of every form: printing and reading again gives the same value and the same text.
#[test]
fn canonical_text_is_a_fixed_point() {
    let suffixes =
        ["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei", "e3", "e-4", "E5"];
    for suffix in suffixes {
        for number in ["1", "7", "10", "250", "999", "1000", "1024", "4096000", "0.5", "1.25", "3.000001", "-12"] {
            let first = quantity(&format!("{number}{suffix}"));
            let canonical = Quantity::scaled(first.mantissa, first.scale, first.format).to_string();
            let again = quantity(&canonical);
            assert_eq!(first, again, "{number}{suffix} {canonical}");
            assert_eq!(again.to_string(), canonical, "{number}{suffix}");
        }
    }
}

#[test]
fn fractions() {
    for text in ["1n", "1m", "1.5", "-1500m", "1000000000000001m", "1Ei", "9Pi", "5000000000000000000"] {
        assert!(quantity(text).is_fractional(), "{text}");
    }
    for text in ["0", "1", "2k", "9223372036854775807", "9223372036854775808", "8Ei", "1Pi", "5E", "1e100"] {
        assert!(!quantity(text).is_fractional(), "{text}");
    }
}
