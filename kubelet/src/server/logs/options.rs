//! The query of a log request (`PodLogOptions`). Pure.

use jiff::Timestamp;

use super::super::query::Query;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogOptions {
    pub follow: bool,
    pub previous: bool,
    pub timestamps: bool,
    pub tail_lines: Option<u64>,
    pub since: Option<Timestamp>,
    pub limit_bytes: Option<u64>,
    /// `All`, `Stdout` or `Stderr`.
    pub stream: Option<super::format::Stream>,
}

impl LogOptions {
    /// # Errors
    /// The parameter that makes no sense.
    pub fn from_query(query: &Query, now: Timestamp) -> Result<Self, String> {
        let number = |name: &str| -> Result<Option<u64>, String> {
            query
                .get(name)
                .filter(|text| !text.is_empty())
                .map(|text| text.parse().map_err(|_| format!("{name}: Invalid value: {text:?}: must be a number")))
                .transpose()
        };
        let since_seconds =
            number("sinceSeconds")?.and_then(|seconds| now.checked_sub(std::time::Duration::from_secs(seconds)).ok());
        let since_time = query.get("sinceTime").filter(|text| !text.is_empty());
        let since_time = since_time
            .map(|text| text.parse::<Timestamp>().map_err(|_| format!("sinceTime: Invalid value: {text:?}")))
            .transpose()?;
        Ok(Self {
            follow: query.flag("follow"),
            previous: query.flag("previous"),
            timestamps: query.flag("timestamps"),
            tail_lines: if query.get("tailLines") == Some("all") { None } else { number("tailLines")? },
            since: since_time.or(since_seconds),
            limit_bytes: number("limitBytes")?,
            stream: match query.get("stream") {
                Some("Stdout") => Some(super::format::Stream::Stdout),
                Some("Stderr") => Some(super::format::Stream::Stderr),
                _ => None,
            },
        })
    }
}
