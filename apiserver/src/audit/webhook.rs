//! Events sent to a server (Kubernetes concept: "Auditing", webhook backend).
//!
//! Enter at [`Webhook::deliver`]. When and how many, it does not know.

use std::path::Path;
use std::time::Duration;

use component::client::{ClientConfig, Endpoint, connect_to};
use component::flags::Values;
use component::random::Random;
use http::Request;
use http::header::CONTENT_TYPE;
use kube::client::Body;
use tokio::time::timeout;

use super::backend::failed;

/// How often a batch is sent, and how long an answer may take.
const ATTEMPTS: u32 = 5;
const PATIENCE: Duration = Duration::from_secs(30);
/// How much longer each pause between attempts is than the one before.
const PAUSE_GROWS: f64 = 1.5;
const JITTER: f64 = 0.2;

pub struct Webhook {
    client: kube::Client,
    path: String,
    initial_backoff: Duration,
    random: Random,
}

impl Webhook {
    /// `config`: the kubeconfig that says whom events are sent to.
    pub fn from_flags(values: &Values, config: &Path, random: Random) -> Result<Self, String> {
        let config = ClientConfig::from_kubeconfig("kube-apiserver", config);
        let mut endpoint = Endpoint::load(&config).map_err(|error| error.to_string())?;
        // A client's paths are below that of its server, and here it is the path itself that is asked.
        let (server, path) = split(&endpoint.server);
        let path = path.to_owned();
        endpoint.server = server.to_owned();
        let client = connect_to(&endpoint, "kube-apiserver").map_err(|error| error.to_string())?;
        let old = "audit-webhook-batch-initial-backoff";
        let backoff = if values.is_given(old) { old } else { "audit-webhook-initial-backoff" };
        Ok(Self { client, path, initial_backoff: values.duration(backoff), random })
    }

    /// Tries as long as upstream does, whatever the error: hardly any would be a reason to lose events.
    pub async fn deliver(&self, events: &[Vec<u8>]) -> bool {
        let body = list(events);
        let mut pause = self.initial_backoff;
        for attempt in 1..=ATTEMPTS {
            match self.send(&body).await {
                Ok(()) => return true,
                Err(error) if attempt == ATTEMPTS => events.iter().for_each(|_| failed("webhook", &error)),
                Err(error) => {
                    tracing::debug!(error, attempt, "sending audit events; trying again");
                    let jitter = (self.random.u64() % 1000) as f64 / 1000.0 * JITTER;
                    tokio::time::sleep(pause.mul_f64(1.0 + jitter)).await;
                    pause = pause.mul_f64(PAUSE_GROWS);
                }
            }
        }
        false
    }

    async fn send(&self, body: &[u8]) -> Result<(), String> {
        let request =
            Request::post(&self.path).header(CONTENT_TYPE, "application/json").body(Body::from(body.to_vec()));
        let request = request.map_err(|error| error.to_string())?;
        let answer = timeout(PATIENCE, self.client.send(request)).await.map_err(|_| "no answer in time".to_owned())?;
        let answer = answer.map_err(|error| component::client::shown(&error))?;
        if answer.status().is_success() { Ok(()) } else { Err(format!("the webhook answered {}", answer.status())) }
    }
}

/// Scheme and authority, and the path, of a URL.
fn split(server: &str) -> (&str, &str) {
    let authority = server.find("://").map_or(0, |at| at + 3);
    match server[authority..].find('/') {
        Some(at) => server.split_at(authority + at),
        None => (server, "/"),
    }
}

fn list(events: &[Vec<u8>]) -> Vec<u8> {
    let head = br#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":["#;
    [head.as_slice(), &events.join(&b','), b"]}"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_split_before_their_path() {
        for (server, expected) in
            [("https://a:1/x/y", ("https://a:1", "/x/y")), ("http://a", ("http://a", "/")), ("a:1/x", ("a:1", "/x"))]
        {
            assert_eq!(split(server), expected);
        }
    }
}
