//! What this server makes of recorded objects, good and broken, beside what upstream made of them.
//!
//! Prints every difference. `oracle.known` holds how many there are by file: more of them fail the test, and so do
//! fewer, so that the number only ever goes down. Skipped, with a notice, where the recordings are not there.

#![expect(clippy::print_stderr, reason = "the report is for who runs the test")]

mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};
use support::{TestServer, oracle};

const KNOWN: &str = include_str!("oracle.known");

#[tokio::test(flavor = "multi_thread")]
async fn recorded_objects_are_answered_as_upstream_does() {
    let Some(folder) = oracle() else {
        eprintln!("NOTICE: the recorded answers are not there; test skipped");
        return;
    };
    let server = TestServer::start(&["--service-cluster-ip-range=10.0.0.0/24"]).await;
    prepare(&server).await;
    let mut files: Vec<_> = std::fs::read_dir(folder.join("objects")).expect("the folder").flatten().collect();
    files.sort_by_key(std::fs::DirEntry::file_name);
    let mut found: BTreeMap<String, usize> = BTreeMap::new();
    let (mut cases, mut report) = (0, String::new());
    for file in files {
        let name = file.file_name().to_string_lossy().into_owned();
        for line in std::fs::read_to_string(file.path()).expect("a file").lines() {
            let case: Value = serde_json::from_str(line).expect("a JSON line");
            let path = case["path"].as_str().unwrap_or_default();
            if !is_served(&server, path).await {
                continue;
            }
            cases += 1;
            if let Some(difference) = difference(&server, path, &case).await {
                let _ = writeln!(
                    report,
                    "--- {name} {path}\n    input {}\n{difference}",
                    shortened(&case["input"].to_string())
                );
                *found.entry(name.clone()).or_default() += 1;
            }
        }
    }
    server.stop().await;
    eprintln!("{report}");
    eprintln!("{cases} cases, {} differ", found.values().sum::<usize>());
    let known: BTreeMap<String, usize> = KNOWN
        .lines()
        .filter_map(|line| line.rsplit_once(' '))
        .filter_map(|(name, count)| Some((name.to_owned(), count.parse().ok()?)))
        .collect();
    let shown: String = found.iter().map(|(name, count)| format!("{name} {count}\n")).collect();
    assert_eq!(found, known, "differences by file; oracle.known should now read:\n{shown}");
}

async fn prepare(server: &TestServer) {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "oracle"}});
    assert_eq!(server.post("/api/v1/namespaces", &namespace).await.code, 201);
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    assert_eq!(server.post("/api/v1/namespaces/oracle/serviceaccounts", &account).await.code, 201);
}

async fn is_served(server: &TestServer, path: &str) -> bool {
    server.get(&format!("{path}?limit=1")).await.code == 200
}

async fn difference(server: &TestServer, path: &str, case: &Value) -> Option<String> {
    let answer = server.post(&format!("{path}?dryRun=All&fieldValidation=Strict"), &case["input"]).await;
    let mut report = String::new();
    if !case["stored"].is_null() {
        if answer.code != 201 {
            return Some(format!("    upstream stores it, here: {} {}", answer.code, answer.body["message"]));
        }
        let (mut wanted, mut got) = (case["stored"].clone(), answer.body);
        mask(&mut wanted, None);
        let wanted_twin = wanted.clone();
        mask(&mut got, Some(&wanted_twin));
        compare("", &wanted, &got, &mut report);
    } else {
        for (field, got) in [("code", &json!(answer.code)), ("reason", &answer.body["reason"])] {
            if case[field] != *got {
                let _ = writeln!(report, "    {field}: upstream {} here {got}", case[field]);
            }
        }
        if let Some(wanted) = case["causes"].as_array() {
            compare_causes(wanted, &answer.body, &mut report);
        }
        if !report.is_empty() {
            let _ =
                writeln!(report, "    upstream says {}\n    here          {}", case["message"], answer.body["message"]);
        }
    }
    (!report.is_empty()).then_some(report)
}

/// The order of causes is that of Go's maps in places; their set is what counts.
fn compare_causes(wanted: &[Value], body: &Value, report: &mut String) {
    let sorted = |causes: &[Value]| {
        let mut texts: Vec<String> = causes.iter().map(Value::to_string).collect();
        texts.sort();
        texts
    };
    let got = body["details"]["causes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let (wanted, got) = (sorted(wanted), sorted(got));
    for cause in wanted.iter().filter(|cause| !got.contains(cause)) {
        let _ = writeln!(report, "    missing cause {cause}");
    }
    for cause in got.iter().filter(|cause| !wanted.contains(cause)) {
        let _ = writeln!(report, "    cause too much {cause}");
    }
}

/// Takes out what varies: times, uids, owners of fields, and the trust bundle that the recording server's own
/// distribution mounts beside upstream's.
fn mask(object: &mut Value, twin: Option<&Value>) {
    match object {
        Value::Object(fields) => {
            // Who asked, in a signing request: another user, who showed another credential.
            if fields.contains_key("signerName") {
                fields.remove("username");
                fields.remove("extra");
            }
            for name in [
                "uid",
                "creationTimestamp",
                "managedFields",
                "resourceVersion",
                "lastTransitionTime",
                "lastPhaseTransitionTime",
                "selfLink",
            ] {
                let kept = fields.get(name).is_some_and(|value| value == "UID")
                    || twin.is_some_and(|twin| twin.get(name).is_some());
                if !kept {
                    fields.remove(name);
                }
            }
            for (name, value) in fields.iter_mut() {
                let twin = twin.and_then(|twin| twin.get(name));
                if twin.is_some_and(|twin| ["ALLOCATED", "UID", "RANDOM-UUID"].iter().any(|word| twin == word)) {
                    *value = twin.cloned().unwrap_or_default();
                }
                mask(value, twin);
            }
        }
        Value::Array(items) => {
            items.retain(|item| item["configMap"]["name"] != "openshift-service-ca.crt");
            for (position, item) in items.iter_mut().enumerate() {
                let twin = twin.and_then(|twin| twin.get(position));
                if twin.is_some_and(|twin| twin == "ALLOCATED") {
                    *item = json!("ALLOCATED");
                }
                mask(item, twin);
            }
        }
        Value::String(text) => {
            if let Some(at) = text.find("kube-api-access-") {
                text.truncate(at + "kube-api-access-".len());
                text.push_str("RANDOM");
            }
            if let Some(Value::String(twin)) = twin
                && let Some(prefix) = twin.strip_suffix("RANDOM")
                && text.starts_with(prefix)
            {
                *text = twin.clone();
            }
        }
        _ => {}
    }
}

fn compare(path: &str, wanted: &Value, got: &Value, report: &mut String) {
    match (wanted, got) {
        (Value::Object(a), Value::Object(b)) => {
            for name in a.keys().chain(b.keys().filter(|name| !a.contains_key(*name))) {
                let null = Value::Null;
                compare(&format!("{path}.{name}"), a.get(name).unwrap_or(&null), b.get(name).unwrap_or(&null), report);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (position, (a, b)) in a.iter().zip(b).enumerate() {
                compare(&format!("{path}[{position}]"), a, b, report);
            }
        }
        (a, b) if a != b => {
            let _ = writeln!(
                report,
                "    {path}: upstream {} here {}",
                shortened(&a.to_string()),
                shortened(&b.to_string())
            );
        }
        _ => {}
    }
}

fn shortened(text: &str) -> String {
    const SHOWN: usize = 600;
    if text.len() <= SHOWN { text.to_owned() } else { format!("{}…", text.chars().take(SHOWN).collect::<String>()) }
}
