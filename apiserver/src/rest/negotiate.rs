//! Which encoding and which shape a client asks for, and which encoding its body has.
//!
//! Kubernetes API concept: "Alternate representations of resources"; the most wanted clause of `Accept` that can be served wins.

use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use machinery::status::Status;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Json,
    Yaml,
    Protobuf,
}

impl Format {
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Yaml => "application/yaml",
            Self::Protobuf => "application/vnd.kubernetes.protobuf",
        }
    }
}

/// The object itself, or one of the views that the server derives from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shape {
    #[default]
    Object,
    Table,
    Partial,
    PartialList,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accept {
    pub format: Format,
    pub shape: Shape,
    pub pretty: bool,
}

/// Whether the client is one that shows answers to a person as they come.
fn is_typed(headers: &HeaderMap) -> bool {
    let agent = headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    ["curl", "Wget", "Mozilla/5.0"].iter().any(|name| agent.starts_with(name))
}

impl Accept {
    /// `pretty` as the query asks; programs that people type get it unasked, as from upstream's server.
    pub fn of(headers: &HeaderMap, pretty: bool) -> Result<Self, Status> {
        Self::choose(headers, pretty, |_| true)
    }

    /// For kinds that have no columns: clauses that ask for a Table are passed over.
    pub fn without_tables(headers: &HeaderMap, pretty: bool) -> Result<Self, Status> {
        Self::choose(headers, pretty, |shape| shape != Shape::Table)
    }

    fn choose(headers: &HeaderMap, pretty: bool, is_served: impl Fn(Shape) -> bool) -> Result<Self, Status> {
        let pretty = pretty || is_typed(headers);
        let asked = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let clauses = by_preference(asked);
        let any = !clauses.is_empty();
        for clause in clauses {
            if let Some((format, shape)) = parse_clause(clause).filter(|(_, shape)| is_served(*shape)) {
                return Ok(Self { format, shape, pretty });
            }
        }
        if any {
            Err(Status::not_acceptable(
                "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf",
            ))
        } else {
            Ok(Self { pretty, ..Self::default() })
        }
    }
}

/// The clauses of an `Accept`, the most wanted first: by `q`, and what names a type before what takes any. Put in order
/// as upstream's library does it, whose order is none where both disagree.
fn by_preference(accepted: &str) -> Vec<&str> {
    let mut clauses: Vec<(&str, f64)> = Vec::new();
    for clause in accepted.split(',').map(str::trim).filter(|clause| !clause.is_empty()) {
        let quality = clause.split(';').skip(1).find_map(|part| part.trim().strip_prefix("q="));
        let wanted = (clause, quality.map_or(1.0, |text| text.parse().unwrap_or(0.0)));
        let place = clauses.iter().rposition(|before| !goes_before(wanted, *before)).map_or(0, |last| last + 1);
        clauses.insert(place, wanted);
    }
    clauses.into_iter().map(|(clause, _)| clause).collect()
}

fn goes_before((clause, quality): (&str, f64), (other, other_quality): (&str, f64)) -> bool {
    let parts = |clause: &str| {
        let (kind, subtype) = clause.split(';').next().unwrap_or_default().split_once('/').unwrap_or_default();
        (kind.trim() == "*", subtype.trim() == "*")
    };
    let ((any, any_subtype), (other_any, other_any_subtype)) = (parts(clause), parts(other));
    quality > other_quality || (!any && other_any) || (!any_subtype && other_any_subtype)
}

fn parse_clause(clause: &str) -> Option<(Format, Shape)> {
    let mut parts = clause.split(';').map(str::trim);
    let format = match parts.next()? {
        "application/json" | "*/*" | "application/*" => Format::Json,
        "application/yaml" => Format::Yaml,
        "application/vnd.kubernetes.protobuf" => Format::Protobuf,
        _ => return None,
    };
    let parameters: Vec<(&str, &str)> = parts.filter_map(|part| part.split_once('=')).collect();
    let value = |name: &str| parameters.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
    let shape = match value("as") {
        None => Shape::Object,
        Some(_) if value("g") != Some("meta.k8s.io") || !matches!(value("v"), Some("v1" | "v1beta1")) => return None,
        Some("Table") => Shape::Table,
        Some("PartialObjectMetadata") => Shape::Partial,
        Some("PartialObjectMetadataList") => Shape::PartialList,
        Some(_) => return None,
    };
    if format == Format::Protobuf && shape == Shape::Table {
        return None;
    }
    Some((format, shape))
}

/// The encoding of a request's body; JSON when the client does not say.
pub fn body_format(headers: &HeaderMap) -> Result<Format, Status> {
    let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match given.split(';').next().unwrap_or_default().trim() {
        "" | "application/json" => Ok(Format::Json),
        "application/yaml" => Ok(Format::Yaml),
        "application/vnd.kubernetes.protobuf" => Ok(Format::Protobuf),
        _ => Err(Status::unsupported_media_type(
            "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accept(text: &str) -> Result<Accept, Status> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, text.parse().expect("a header value"));
        Accept::of(&headers, false)
    }

    #[test]
    fn takes_the_first_clause_it_can_serve() {
        let table = accept("application/json;as=Table;v=v1;g=meta.k8s.io,application/json").unwrap();
        assert_eq!(table.shape, Shape::Table);
        let fallback = accept("application/json;as=Other;v=v1;g=meta.k8s.io,application/json").unwrap();
        assert_eq!(fallback.shape, Shape::Object);
        assert_eq!(accept("application/vnd.kubernetes.protobuf,application/json").unwrap().format, Format::Protobuf);
        assert_eq!(accept("text/html").unwrap_err().code, 406);
        assert_eq!(accept("text/html, */*").unwrap().format, Format::Json);
        assert_eq!(accept("application/json;q=0.1, application/yaml").unwrap().format, Format::Yaml);
        assert_eq!(accept("*/*, application/yaml").unwrap().format, Format::Yaml);
        assert_eq!(accept("application/yaml;q=0.5, */*").unwrap().format, Format::Json);
        assert_eq!(accept("application/yaml, application/json").unwrap().format, Format::Yaml);
    }

    #[test]
    fn a_kind_without_columns_is_no_table() {
        let accept = |text: &str| {
            let headers = HeaderMap::from_iter([(ACCEPT, text.parse().expect("a header value"))]);
            Accept::without_tables(&headers, false)
        };
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
        assert_eq!(accept(table).unwrap_err().code, 406);
        assert_eq!(accept(&format!("{table},application/json")).unwrap().shape, Shape::Object);
    }
}
