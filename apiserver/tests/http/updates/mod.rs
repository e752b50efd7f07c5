//! What of a stored object may change: each case is an object, a change of it, and what upstream's rules say of that
//! (its validation of updates, kind by kind). Nothing said is a change that is taken.

mod configuration;
mod jobs;
mod metadata;
mod network;
mod storage;
mod workloads;

use serde_json::Value;

use crate::client::{patch, post};
use crate::support::TestServer;

/// Path of the collection, kind, the object without its name, a merge patch, and the causes of the refusal. `…` stands for
/// anything.
type Case = (&'static str, &'static str, Value, Value, &'static [&'static str]);

fn fits(told: &str, pattern: &str) -> bool {
    match pattern.split_once('…') {
        None => told == pattern,
        Some((begin, end)) => told.len() >= begin.len() + end.len() && told.starts_with(begin) && told.ends_with(end),
    }
}

async fn check(cases: Vec<Case>) {
    let server = TestServer::start(&["--disable-admission-plugins=ServiceAccount"]).await;
    let client = &server.client;
    let mut wrong = Vec::new();
    for (number, (path, kind, mut object, change, expected)) in cases.into_iter().enumerate() {
        let (version, kind) = kind.rsplit_once('/').expect("a version and a kind");
        (object["apiVersion"], object["kind"]) = (version.into(), kind.into());
        let name = format!("a{number}");
        object["metadata"]["name"] = name.as_str().into();
        post(client, path, &object).await.expect(201);
        let answer = patch(client, &format!("{path}/{name}"), "merge", &change).await;
        let causes = answer.body["details"]["causes"].as_array().into_iter().flatten();
        let told: Vec<String> = causes
            .map(|cause| {
                format!("{}: {}", cause["field"].as_str().unwrap_or(""), cause["message"].as_str().unwrap_or(""))
            })
            .collect();
        let is_right = answer.code == if expected.is_empty() { 200 } else { 422 }
            && told.len() == expected.len()
            && told.iter().zip(expected).all(|(told, expected)| fits(told, expected));
        if !is_right {
            wrong.push(format!("{kind} {change}\n  {}: {told:#?}\n  expected {expected:#?}", answer.code));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
