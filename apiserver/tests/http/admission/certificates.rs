//! Who may approve and sign, and which certificates never are.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, DnType, KeyPair};
use serde_json::{Value, json};

use crate::client::{patch, post};
use crate::rights::grant;
use crate::secure::Secure;

const SOON: Duration = Duration::from_secs(20);
const SIGNING: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";

fn signing(name: &str, organization: &str, signer: &str) -> Value {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.distinguished_name.push(DnType::OrganizationName, organization);
    let key = KeyPair::generate().expect("a key");
    let request = params.serialize_request(&key).expect("a request").pem().expect("as text");
    json!({"metadata": {"name": name}, "spec": {
        "request": STANDARD.encode(request), "signerName": signer, "usages": ["client auth"],
    }})
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_signed_into_the_masters() {
    let server = Secure::with_roles().await;
    let client = server.master();
    let refused = post(&client, SIGNING, &signing("a", "system:masters", "kubernetes.io/kube-apiserver-client")).await;
    refused.refused(403, "Forbidden");
    assert_eq!(
        refused.body["message"],
        "certificatesigningrequests.certificates.k8s.io \"a\" is forbidden: \
         use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed"
    );
    post(&client, SIGNING, &signing("a", "people", "kubernetes.io/kube-apiserver-client")).await.expect(201);
    post(&client, SIGNING, &signing("b", "system:masters", "example.com/own")).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signer_is_a_right_of_its_own() {
    let server = Secure::with_roles().await;
    let (master, bob) = (server.master(), server.client("bob", &[]));
    post(&master, SIGNING, &signing("a", "people", "example.com/own")).await.expect(201);
    let group = "certificates.k8s.io";
    let resources = ["certificatesigningrequests/approval", "certificatesigningrequests/status"];
    let rule = json!({"apiGroups": [group], "resources": resources, "verbs": ["update", "patch"]});
    grant(&master, "paths", "bob", json!([rule])).await;
    let condition = |kind: &str| json!({"type": kind, "status": "True", "reason": "Told"});
    let conditions = |kinds: &[&str]| {
        let conditions: Vec<Value> = kinds.iter().map(|kind| condition(kind)).collect();
        json!({"status": {"conditions": conditions}})
    };
    let approve = async || patch(&bob, &format!("{SIGNING}/a/approval"), "merge", &conditions(&["Approved"])).await;
    let sign = async |kinds: &[&str]| patch(&bob, &format!("{SIGNING}/a/status"), "merge", &conditions(kinds)).await;
    // The index of rights follows its watch.
    let with_right = async {
        loop {
            let refused = approve().await;
            if !refused.body["message"].as_str().is_some_and(|message| message.contains("cannot patch")) {
                return refused;
            }
        }
    };
    let refused = tokio::time::timeout(SOON, with_right).await.expect("the right to patch");
    assert_eq!(
        refused.body["message"],
        "certificatesigningrequests.certificates.k8s.io \"a\" is forbidden: \
         user not permitted to approve requests with signerName \"example.com/own\""
    );
    let refused = sign(&["Failed"]).await;
    refused.refused(403, "Forbidden");
    assert_eq!(
        refused.body["message"],
        "certificatesigningrequests.certificates.k8s.io \"a\" is forbidden: \
         user not permitted to sign requests with signerName \"example.com/own\""
    );
    let rule = json!({
        "apiGroups": [group], "resources": ["signers"], "verbs": ["approve"], "resourceNames": ["example.com/*"],
    });
    grant(&master, "signer", "bob", json!([rule])).await;
    let allowed = async {
        while approve().await.code != 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, allowed).await.expect("the right to approve");
    sign(&["Approved", "Failed"]).await.refused(403, "Forbidden");
}

#[tokio::test(flavor = "multi_thread")]
async fn approval_decides_and_notes_and_signs_nothing() {
    let server = Secure::with_roles().await;
    let client = server.master();
    post(&client, SIGNING, &signing("a", "people", "example.com/own")).await.expect(201);
    let body = json!({
        "metadata": {"annotations": {"why": "known"}, "labels": {"seen": "yes"}}, "spec": {"username": "somebody"},
        "status": {"conditions": [{"type": "Approved", "status": "True", "reason": "Told"}], "certificate": "eA=="},
    });
    let approved = patch(&client, &format!("{SIGNING}/a/approval"), "merge", &body).await.expect(200);
    assert_eq!(approved["metadata"]["annotations"], json!({"why": "known"}));
    assert_eq!(approved["metadata"]["labels"], json!({"seen": "yes"}));
    assert_eq!(approved["status"]["conditions"][0]["type"], "Approved");
    assert!(approved["status"]["certificate"].is_null() && approved["spec"]["username"] != "somebody", "{approved}");
}
