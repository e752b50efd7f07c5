//! Bad input over the wire: upstream's code and reason in a Status, a server that goes on, and nothing stored.

use anyhow::{Context as _, Result, ensure};

use testbed::Cluster;

use crate::support::SKIFF;

/// A request by curl and what must come back.
struct Case {
    what: &'static str,
    path: &'static str,
    body: String,
    code: u16,
    reason: &'static str,
}

const PODS: &str = "/api/v1/namespaces/default/pods";
const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn cases() -> Vec<Case> {
    let case = |what, path, body: &str, code, reason| Case { what, path, body: body.to_owned(), code, reason };
    let long = "x".repeat(300);
    vec![
        case("not JSON", CONFIG_MAPS, "{\"apiVersion\":", 400, "BadRequest"),
        case(
            "another kind",
            PODS,
            r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"bad"}}"#,
            400,
            "BadRequest",
        ),
        case(
            "a wrong type",
            CONFIG_MAPS,
            r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"bad"},"data":[1]}"#,
            400,
            "BadRequest",
        ),
        case(
            "an unknown field, strictly",
            "/api/v1/namespaces/default/configmaps?fieldValidation=Strict",
            r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"bad"},"dota":{}}"#,
            400,
            "BadRequest",
        ),
        case(
            "a name too long",
            CONFIG_MAPS,
            &format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{long}"}}}}"#),
            422,
            "Invalid",
        ),
        case("a body of 10 MiB", CONFIG_MAPS, &"x".repeat(10 << 20), 413, "RequestEntityTooLarge"),
        case("an unknown path", "/api/v1/nonsense", "{}", 404, "NotFound"),
        case(
            "an unknown namespace",
            "/api/v1/namespaces/none/configmaps",
            r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"bad"}}"#,
            404,
            "NotFound",
        ),
    ]
}

#[test]
fn bad_input_gets_a_status_and_is_not_stored() -> Result<()> {
    let without =
        ["kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"].map(|part| format!("--without={part}"));
    let options: Vec<&str> = without.iter().map(String::as_str).collect();
    let Some(cluster) = Cluster::up("bad-input", SKIFF, &options)? else { return Ok(()) };
    for case in cases() {
        let (code, body) = post(&cluster, &case)?;
        let status: serde_json::Value =
            serde_json::from_str(&body).with_context(|| format!("{}: no Status but {body:?}", case.what))?;
        ensure!(code == case.code, "{}: {code} instead of {}: {body}", case.what, case.code);
        ensure!(status["kind"] == "Status" && status["reason"] == case.reason, "{}: {body}", case.what);
        ensure!(status["code"] == code && status["status"] == "Failure", "{}: {body}", case.what);
    }
    wrong_certificate(&cluster)?;
    truncated_body(&cluster)?;
    let stored = cluster.kubectl(&["get", "configmaps,pods", "--all-namespaces", "-o", "name"])?;
    ensure!(!stored.contains("bad"), "{stored}");
    ensure!(!cluster.log().contains("panicked"), "{}", cluster.log());
    Ok(())
}

/// The status code and body of a POST as administrator.
fn post(cluster: &Cluster, case: &Case) -> Result<(u16, String)> {
    let file = cluster.bed.folder().join("body");
    std::fs::write(&file, &case.body)?;
    curl(
        cluster,
        "admin",
        &["--data-binary", &format!("@{}", file.display()), &format!("https://127.0.0.1:6443{}", case.path)],
    )
}

fn curl(cluster: &Cluster, identity: &str, arguments: &[&str]) -> Result<(u16, String)> {
    let pki = |name: String| cluster.data().join("pki").join(name).display().to_string();
    let (authority, certificate, key) =
        (pki("ca.crt".into()), pki(format!("{identity}.crt")), pki(format!("{identity}.key")));
    let fixed = [
        "curl",
        "--silent",
        "--show-error",
        "--max-time",
        "20",
        "--header",
        "Content-Type: application/json",
        "--write-out",
        "\n%{http_code}",
        "--cacert",
        &authority,
        "--cert",
        &certificate,
        "--key",
        &key,
    ];
    let output = cluster.bed.run(&[&fixed[..], arguments].concat())?;
    let (body, code) = output.rsplit_once('\n').context("curl writes the code last")?;
    Ok((code.parse().context("a status code")?, body.to_owned()))
}

/// One that is not of the cluster's authority is refused by a Status, not by a broken connection.
fn wrong_certificate(cluster: &Cluster) -> Result<()> {
    let pki = cluster.data().join("pki").display().to_string();
    cluster.bed.run(&[
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/O=system:masters/CN=mallory",
        "-keyout",
        &format!("{pki}/wrong.key"),
        "-out",
        &format!("{pki}/wrong.crt"),
    ])?;
    let (code, body) = curl(cluster, "wrong", &["https://127.0.0.1:6443/api/v1/namespaces"])?;
    ensure!(
        code == 401 && body.contains("\"reason\":\"Unauthorized\"") || body.contains("\"reason\": \"Unauthorized\""),
        "{code} {body}"
    );
    Ok(())
}

/// A client that promises more than it sends and goes away leaves nothing behind, and the server answers the next.
fn truncated_body(cluster: &Cluster) -> Result<()> {
    let body = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"bad"}}"#;
    let file = cluster.bed.folder().join("body");
    std::fs::write(&file, body)?;
    let url = format!("https://127.0.0.1:6443{CONFIG_MAPS}");
    let data = format!("@{}", file.display());
    let promised = ["--http1.1", "--max-time", "2", "--header", "Content-Length: 1000", "--data-binary", &data, &url];
    ensure!(curl(cluster, "admin", &promised).is_err(), "the server waits for the rest until the client goes");
    cluster.kubectl(&["get", "namespaces"]).map(|_| ())
}
