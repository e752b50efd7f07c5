//! Numbers that may be percentages of a total: `maxSurge`, `maxUnavailable` and the like.
//!
//! Pure.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// A text that is no percentage (the API lets none in) counts as zero.
pub(crate) fn scaled(value: &IntOrString, total: i32, round_up: bool) -> i32 {
    match value {
        IntOrString::Int(number) => *number,
        IntOrString::String(text) => {
            let percent: i64 = text.strip_suffix('%').and_then(|p| p.parse().ok()).unwrap_or(0);
            let hundredths = percent * i64::from(total);
            let rounded = if round_up { (hundredths + 99).div_euclid(100) } else { hundredths.div_euclid(100) };
            i32::try_from(rounded).unwrap_or(i32::MAX)
        }
    }
}
