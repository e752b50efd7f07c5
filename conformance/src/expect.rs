//! Comparing what was seen with what is expected, in words that a report can show.

use std::fmt::Debug;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::cluster::ApiError;

/// Longest piece of foreign text in a report.
const SHOWN_MAX: usize = 700;

/// Between two looks at what cannot be watched, such as whether packets arrive.
const PAUSE: Duration = Duration::from_millis(150);

pub(crate) fn short(text: &str) -> String {
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// An object in a report: its name and status, or all of it when it has none.
pub(crate) fn show(object: &Value) -> String {
    let mut object = object.clone();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    let status = object.get("status").filter(|status| status.as_object().is_some_and(|fields| !fields.is_empty()));
    match (status, object["metadata"]["name"].as_str()) {
        (Some(status), Some(name)) => short(&format!("{name} with status {status}")),
        _ => short(&object.to_string()),
    }
}

pub(crate) fn same<S: Debug + PartialEq<E>, E: Debug>(what: &str, seen: S, expected: E) -> Result<()> {
    ensure!(
        seen == expected,
        "{what}: expected {}, saw {}",
        short(&format!("{expected:?}")),
        short(&format!("{seen:?}"))
    );
    Ok(())
}

/// Objects, lists and other values of JSON, written as JSON in the report.
pub(crate) fn equal(what: &str, seen: &Value, expected: &Value) -> Result<()> {
    ensure!(seen == expected, "{what}: expected {}, saw {}", short(&expected.to_string()), short(&seen.to_string()));
    Ok(())
}

pub(crate) fn contains(what: &str, text: &str, part: &str) -> Result<()> {
    ensure!(text.contains(part), "{what}: expected to contain {part:?}, saw {:?}", short(text));
    Ok(())
}

pub(crate) fn matches(what: &str, text: &str, pattern: &str) -> Result<()> {
    let pattern = regex::Regex::new(pattern)?;
    ensure!(pattern.is_match(text), "{what}: expected to match {pattern}, saw {:?}", short(text));
    Ok(())
}

/// The refusal of a request that must be refused, with this code and reason.
pub(crate) fn refused<T: Debug>(result: Result<T>, code: u16, reason: &str) -> Result<ApiError> {
    let error = match result {
        Ok(value) => bail!("expected {code} {reason}, saw success: {}", short(&format!("{value:?}"))),
        Err(error) => error,
    };
    let error = error.downcast::<ApiError>().context("expected an answer of the API server")?;
    ensure!(error.code == code && error.reason == reason, "expected {code} {reason}, saw {error}");
    Ok(error)
}

/// Looks until `check` succeeds: only for what nothing tells of, such as whether packets arrive.
pub(crate) async fn eventually<T>(what: &str, limit: Duration, mut check: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    let deadline = tokio::time::Instant::now() + limit;
    loop {
        match check().await {
            Ok(value) => return Ok(value),
            Err(error) if tokio::time::Instant::now() >= deadline => {
                return Err(error).with_context(|| format!("expected within {} s: {what}", limit.as_secs()));
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}
