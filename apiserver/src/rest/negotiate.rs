//! Which encoding and which shape a client asks for, and which encoding its body has.
//!
//! Kubernetes API concept: "Alternate representations of resources"; the most wanted clause of `Accept` that can be served wins.

use component::flags::parse_bool;
use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use machinery::status::{Details, Status};

use crate::request::Query;

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
    /// The view is to say that it is of the version before its last, from which it differs in nothing else.
    pub is_beta: bool,
    pub pretty: bool,
}

/// What an endpoint gives out; clauses that ask for more are passed over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Offer {
    /// Objects in every shape, in the version that the server has of itself (`sv`).
    Views,
    /// The same of kinds that have no columns.
    NoTables,
    /// One document as it is.
    Document,
}

impl Offer {
    fn has(self, shape: Shape) -> bool {
        match self {
            Self::Views => true,
            Self::NoTables => shape != Shape::Table,
            Self::Document => shape == Shape::Object,
        }
    }
}

/// What a query says of how an answer is to look. What is no boolean is false.
pub fn pretty(query: &Query) -> Option<bool> {
    query.text("pretty").map(|text| parse_bool(text).unwrap_or(false))
}

/// Whether the client is one that shows answers to a person as they come.
fn is_typed(headers: &HeaderMap) -> bool {
    let agent = headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    ["curl", "Wget", "Mozilla/5.0"].iter().any(|name| agent.starts_with(name))
}

impl Accept {
    /// `pretty` as the query says it ([`pretty`]); programs that people type get it unasked, as from upstream's server.
    pub fn of(headers: &HeaderMap, pretty: Option<bool>) -> Result<Self, Status> {
        Self::choose(headers, pretty, Offer::Views)
    }

    /// For what is no resource, as discovery.
    pub fn of_document(headers: &HeaderMap, pretty: Option<bool>) -> Result<Self, Status> {
        Self::choose(headers, pretty, Offer::Document)
    }

    /// For a failure, which has one shape: to who takes no such thing it is told as a person would read it.
    pub fn of_failure(headers: &HeaderMap, pretty: Option<bool>) -> Self {
        Self::of_document(headers, pretty).unwrap_or(Self { pretty: true, ..Self::default() })
    }

    /// For kinds that have no columns.
    pub fn without_tables(headers: &HeaderMap, pretty: Option<bool>) -> Result<Self, Status> {
        Self::choose(headers, pretty, Offer::NoTables)
    }

    fn choose(headers: &HeaderMap, pretty: Option<bool>, offer: Offer) -> Result<Self, Status> {
        let pretty = pretty.unwrap_or_else(|| is_typed(headers));
        let asked = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let clauses = by_preference(asked);
        let any = !clauses.is_empty();
        for clause in clauses {
            if let Some(accept) = parse_clause(clause, offer) {
                return Ok(Self { pretty: pretty || accept.pretty, ..accept });
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

const REPRESENTATIONS: [&str; 3] = ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
/// What lists and watches are offered in as well; upstream's router names it, and takes nobody's word for it.
const STREAMS: &str = ", application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch";

/// What upstream's router does before any resource is asked: it refuses whoever names no type of these, whatever else.
pub fn check_routed(headers: &HeaderMap, streams: bool) -> Result<(), Status> {
    let asked = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut kinds = asked.split(',').map(|clause| clause.split(';').next().unwrap_or_default().trim());
    if asked.is_empty() || kinds.any(|kind| kind == "*/*" || REPRESENTATIONS.contains(&kind)) {
        return Ok(());
    }
    let streams = if streams { STREAMS } else { "" };
    let mut status = Status::not_acceptable(format!(
        "406: Not Acceptable\n\nAvailable representations: {}{streams}",
        REPRESENTATIONS.join(", ")
    ));
    status.details = Some(Details::default());
    Err(status)
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

fn parse_clause(clause: &str, offer: Offer) -> Option<Accept> {
    let mut parts = clause.split(';').map(str::trim);
    let format = match parts.next()? {
        "application/json" | "*/*" | "application/*" => Format::Json,
        "application/yaml" => Format::Yaml,
        "application/vnd.kubernetes.protobuf" => Format::Protobuf,
        _ => return None,
    };
    let parameters: Vec<(&str, &str)> = parts.filter_map(|part| part.split_once('=')).collect();
    let value = |name: &str| parameters.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
    let shape = match (value("as"), value("g"), value("v")) {
        (None, None, None) => Shape::Object,
        (Some(kind), Some("meta.k8s.io"), Some("v1" | "v1beta1")) => match kind {
            "Table" => Shape::Table,
            "PartialObjectMetadata" => Shape::Partial,
            "PartialObjectMetadataList" => Shape::PartialList,
            _ => return None,
        },
        _ => return None,
    };
    let said = |name: &str| value(name).filter(|text| !text.is_empty());
    let streams = said("stream").is_none_or(|kind| kind == "watch" && format != Format::Yaml);
    let versions = said("sv").is_none_or(|version| version == "v1" && offer != Offer::Document);
    if !offer.has(shape) || !streams || !versions || (format == Format::Protobuf && shape == Shape::Table) {
        return None;
    }
    let is_beta = shape != Shape::Object && value("v") == Some("v1beta1");
    Some(Accept { format, shape, is_beta, pretty: value("pretty") == Some("1") })
}

/// The encoding of a request's body; JSON when the client does not say.
pub fn body_format(headers: &HeaderMap) -> Result<Format, Status> {
    let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match media_type(given).as_deref() {
        _ if given.is_empty() => Ok(Format::Json),
        Some("application/json") => Ok(Format::Json),
        Some("application/yaml") => Ok(Format::Yaml),
        Some("application/vnd.kubernetes.protobuf") => Ok(Format::Protobuf),
        _ => Err(Status::unsupported_media_type(
            "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf",
        )),
    }
}

/// The type of a body, whatever its case; `None` where its parameters are none (RFC 9110, section 8.3.1).
fn media_type(given: &str) -> Option<String> {
    let mut parts = given.split(';').map(str::trim);
    let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
    let parts: Vec<&str> = parts.collect();
    // One that is empty may end the list.
    let named = parts.strip_suffix(&[""]).unwrap_or(&parts);
    let is_parameter =
        |part: &&str| part.split_once('=').is_some_and(|(name, value)| is_token(name) && !value.is_empty());
    named.iter().all(is_parameter).then_some(kind)
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accept(text: &str) -> Result<Accept, Status> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, text.parse().expect("a header value"));
        Accept::of(&headers, None)
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
        assert!(accept("application/json;pretty=1").unwrap().pretty);
        assert!(!accept("application/json;pretty=true").unwrap().pretty);
    }

    #[test]
    fn a_clause_with_what_cannot_be_served_is_passed_over() {
        for (parameters, want) in [
            ("g=meta.k8s.io", false),
            ("as=Table;g=meta.k8s.io", false),
            ("as=Table;v=v1;g=meta.k8s.io", true),
            ("stream=watch", true),
            ("stream=", true),
            ("stream=other", false),
            ("sv=v1", true),
            ("sv=v2", false),
            ("export=1;profile=nopeer;other", true),
        ] {
            assert_eq!(accept(&format!("application/json;{parameters}")).is_ok(), want, "{parameters}");
        }
        assert!(accept("application/yaml;stream=watch").is_err());
        assert!(accept("application/vnd.kubernetes.protobuf;stream=watch").is_ok());
    }

    #[test]
    fn the_querys_word_on_looks_goes_before_the_clients_name() {
        let shown = |agent: &str, query: &str| {
            let headers = HeaderMap::from_iter([(USER_AGENT, agent.parse().expect("a header value"))]);
            Accept::of(&headers, pretty(&Query::parse(query))).expect("an accepted form").pretty
        };
        for (agent, query, want) in [
            ("curl/8", "", true),
            ("curl/8", "pretty=0", false),
            ("curl/8", "pretty=perhaps", false),
            ("curl/8", "pretty", true),
            ("kubectl", "pretty", false),
            ("kubectl", "pretty=True", true),
            ("kubectl", "pretty=yes", false),
        ] {
            assert_eq!(shown(agent, query), want, "{agent} {query}");
        }
    }

    #[test]
    fn a_body_has_one_type_and_parameters_with_values() {
        let format = |given: &str| {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, given.parse().expect("a header value"))]);
            body_format(&headers).ok()
        };
        for (given, want) in [
            ("", Some(Format::Json)),
            ("application/JSON", Some(Format::Json)),
            ("application/yaml; charset=utf-8;", Some(Format::Yaml)),
            ("application/json;x", None),
            ("application/json, application/yaml", None),
            (";", None),
            ("text/plain", None),
        ] {
            assert_eq!(format(given), want, "{given}");
        }
    }

    #[test]
    fn the_router_wants_a_type_by_its_name() {
        for (asked, want) in
            [("application/*", false), ("text/html", false), ("text/html, application/yaml;q=0", true), ("*/*", true)]
        {
            let headers = HeaderMap::from_iter([(ACCEPT, asked.parse().expect("a header value"))]);
            assert_eq!(check_routed(&headers, false).is_ok(), want, "{asked}");
        }
        assert!(check_routed(&HeaderMap::new(), true).is_ok());
        let headers = HeaderMap::from_iter([(ACCEPT, "text/html".parse().expect("a header value"))]);
        let told = check_routed(&headers, true).unwrap_err().message;
        assert!(
            told.ends_with("protobuf, application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch")
        );
    }

    #[test]
    fn a_failure_has_one_shape() {
        let shown = |asked: &str| {
            Accept::of_failure(&HeaderMap::from_iter([(ACCEPT, asked.parse().expect("a header value"))]), None)
        };
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
        assert!(shown(table).pretty && shown("text/html").pretty);
        assert!(!shown(&format!("{table},application/json")).pretty);
        assert!(shown("application/json;sv=v1").pretty);
        assert_eq!(shown("application/yaml").format, Format::Yaml);
    }

    #[test]
    fn a_kind_without_columns_is_no_table() {
        let accept = |text: &str| {
            let headers = HeaderMap::from_iter([(ACCEPT, text.parse().expect("a header value"))]);
            Accept::without_tables(&headers, None)
        };
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
        assert_eq!(accept(table).unwrap_err().code, 406);
        assert_eq!(accept(&format!("{table},application/json")).unwrap().shape, Shape::Object);
    }
}
