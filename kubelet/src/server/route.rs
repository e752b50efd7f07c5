//! What a path asks for, and what the asker must be allowed to do (`pkg/kubelet/server/auth.go`). Pure.

use component::delegated::Attributes;
use http::Method;

/// A container of a pod, by the parts of the path; `uid` is empty where the path has none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Target {
    pub namespace: String,
    pub pod: String,
    pub uid: String,
    pub container: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    Pods,
    RunningPods,
    Logs(Target),
    Run(Target),
    Exec(Target),
    Attach(Target),
    PortForward(Target),
    Checkpoint(Target),
    StatsSummary,
    MetricsResource,
    MetricsCadvisor,
    MetricsProbes,
    /// A path below the node's log folder.
    NodeLogs(String),
}

impl Route {
    /// None for paths that are not served.
    pub fn parse(path: &str) -> Option<Self> {
        let parts: Vec<String> = path.split('/').skip(1).map(super::query::decode).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let target = |rest: &[&str], with_container: bool| {
            let (namespace, pod, uid, container) = match (rest, with_container) {
                ([namespace, pod, uid, container], true) => (namespace, pod, *uid, *container),
                ([namespace, pod, container], true) => (namespace, pod, "", *container),
                ([namespace, pod, uid], false) => (namespace, pod, *uid, ""),
                ([namespace, pod], false) => (namespace, pod, "", ""),
                _ => return None,
            };
            let own = |text: &str| text.to_owned();
            Some(Target { namespace: own(namespace), pod: own(pod), uid: own(uid), container: own(container) })
        };
        match parts.as_slice() {
            ["pods" | "pods/"] | ["pods", ""] => Some(Self::Pods),
            ["runningpods"] | ["runningpods", ""] => Some(Self::RunningPods),
            ["stats", "summary"] => Some(Self::StatsSummary),
            ["metrics", "resource"] => Some(Self::MetricsResource),
            ["metrics", "cadvisor"] => Some(Self::MetricsCadvisor),
            ["metrics", "probes"] => Some(Self::MetricsProbes),
            ["logs", rest @ ..] => Some(Self::NodeLogs(rest.join("/"))),
            ["containerLogs", rest @ ..] if rest.len() == 3 => target(rest, true).map(Self::Logs),
            ["run", rest @ ..] => target(rest, true).map(Self::Run),
            ["exec", rest @ ..] => target(rest, true).map(Self::Exec),
            ["attach", rest @ ..] => target(rest, true).map(Self::Attach),
            ["checkpoint", rest @ ..] if rest.len() == 3 => target(rest, true).map(Self::Checkpoint),
            ["portForward", rest @ ..] => target(rest, false).map(Self::PortForward),
            _ => None,
        }
    }

    /// A command is not run by a GET: that is authorized as reading only. Streams begin with either, as their protocols do.
    pub fn takes(&self, method: &Method) -> bool {
        match self {
            Self::Run(_) | Self::Checkpoint(_) => *method == Method::POST,
            Self::Exec(_) | Self::Attach(_) | Self::PortForward(_) => matches!(*method, Method::GET | Method::POST),
            _ => matches!(*method, Method::GET | Method::HEAD),
        }
    }

    /// Not even there where there is no debugging, as on the read-only port.
    pub fn is_withheld(&self) -> bool {
        matches!(self, Self::Checkpoint(_))
    }

    /// Turned off by `enableDebuggingHandlers: false`.
    pub fn is_debugging(&self) -> bool {
        let is_numbers =
            matches!(self, Self::StatsSummary | Self::MetricsResource | Self::MetricsCadvisor | Self::MetricsProbes);
        !is_numbers && !matches!(self, Self::Pods | Self::Checkpoint(_))
    }
}

/// The subresource of `nodes` for a path, the narrow one first: any of them is enough.
pub fn attributes(method: &Method, path: &str, node: &str) -> Vec<Attributes> {
    let verb = match *method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "get",
    };
    let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    let subresources: &[&str] = match first {
        "stats" => &["stats"],
        "metrics" => &["metrics"],
        "logs" => &["log"],
        "checkpoint" => &["checkpoint"],
        "statusz" => &["statusz"],
        "flagz" => &["configz"],
        "configz" => &["configz", "proxy"],
        "healthz" | "livez" | "readyz" => &["healthz", "proxy"],
        "pods" | "runningpods" => &["pods", "proxy"],
        _ => &["proxy"],
    };
    let one = |subresource: &&str| Attributes::Resource {
        verb: verb.to_owned(),
        group: String::new(),
        version: "v1".to_owned(),
        resource: "nodes".to_owned(),
        subresource: (*subresource).to_owned(),
        namespace: String::new(),
        name: node.to_owned(),
    };
    subresources.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read() {
        let target = |uid: &str, container: &str| Target {
            namespace: "ns".into(),
            pod: "web".into(),
            uid: uid.into(),
            container: container.into(),
        };
        for (path, wanted) in [
            ("/pods", Some(Route::Pods)),
            ("/pods/", Some(Route::Pods)),
            ("/containerLogs/ns/web/c", Some(Route::Logs(target("", "c")))),
            ("/containerLogs/ns/web", None),
            ("/exec/ns/web/c", Some(Route::Exec(target("", "c")))),
            ("/exec/ns/web/uid/c", Some(Route::Exec(target("uid", "c")))),
            ("/portForward/ns/web", Some(Route::PortForward(target("", "")))),
            ("/portForward/ns/web/uid", Some(Route::PortForward(target("uid", "")))),
            ("/checkpoint/ns/web/c", Some(Route::Checkpoint(target("", "c")))),
            ("/checkpoint/ns/web", None),
            ("/stats/summary", Some(Route::StatsSummary)),
            ("/metrics/cadvisor", Some(Route::MetricsCadvisor)),
            ("/metrics/probes", Some(Route::MetricsProbes)),
            ("/logs/pods/a.log", Some(Route::NodeLogs("pods/a.log".into()))),
            ("/nothing", None),
        ] {
            assert_eq!(Route::parse(path), wanted, "{path}");
        }
    }
    #[test]
    fn any_one_of_a_paths_subresources_is_enough() {
        for (method, path, wanted) in [
            (Method::GET, "/metrics/probes", "get metrics"),
            (Method::GET, "/metrics/cadvisor", "get metrics"),
            (Method::GET, "/stats/summary", "get stats"),
            (Method::GET, "/logs/", "get log"),
            (Method::GET, "/pods", "get pods, get proxy"),
            (Method::GET, "/configz", "get configz, get proxy"),
            (Method::GET, "/flagz", "get configz"),
            (Method::GET, "/statusz", "get statusz"),
            (Method::POST, "/run/ns/p/c", "create proxy"),
            (Method::POST, "/checkpoint/ns/p/c", "create checkpoint"),
        ] {
            let shown = attributes(&method, path, "n").into_iter().map(|it| match it {
                Attributes::Resource { verb, resource, subresource, name, .. } => {
                    assert_eq!((resource.as_str(), name.as_str()), ("nodes", "n"), "{path}");
                    format!("{verb} {subresource}")
                }
                other => panic!("{path}: {other:?}"),
            });
            assert_eq!(shown.collect::<Vec<_>>().join(", "), wanted, "{path}");
        }
    }
}
