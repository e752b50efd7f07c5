//! Who may do what: reviews, roles and bindings, impersonation, certificates on request.

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use serde_json::{Value, json};

use crate::catalogue::{Area, Group, case};
use crate::cluster::{Call, Patch, Resource, SOON, Scope};
use crate::expect::{contains, equal, eventually, refused, same};

pub(super) const GROUP: Group = Group {
    name: "access",
    area: Area::Kinds,
    capability: "Access: roles and bindings, reviews, impersonation, certificates by request",
    cases: &[
        case!(nobody_may_anything, "who has no role is refused with a 403 that says what and who", quick),
        case!(
            bindings_grant_and_revoke,
            "a binding grants what its role says, in its namespace, and its end revokes it"
        ),
        case!(reviews_agree_with_requests, "SubjectAccessReviews say what impersonated requests find", quick),
        case!(one_may_ask_about_oneself, "who asks is told who they are, and what they may do"),
        case!(roles_are_aggregated, "a role that aggregates has the rules of what it selects"),
        case!(nobody_gives_what_they_do_not_have, "who may write roles cannot grant what they do not hold"),
        case!(predefined_roles_are_there, "the roles that other programs bind to are there"),
        case!(certificates_are_signed, "an approved request is signed, and the certificate is its user's"),
        case!(requests_have_three_faces, "approval, status and the rest of a request are changed at their own paths"),
        case!(approvals_are_final, "an approval cannot be taken back, and a certificate is one, at its own path"),
        case!(denied_requests_get_nothing, "a denied request gets no certificate, and stays denied"),
    ],
};

const RBAC: &str = "rbac.authorization.k8s.io/v1";

fn roles(scope: &Scope) -> Resource {
    scope.resource(RBAC, "roles")
}

fn as_user(call: Call, user: &str) -> Call {
    call.header("impersonate-user", user)
}

fn role(name: &str, resources: &[&str], verbs: &[&str]) -> Value {
    json!({"apiVersion": RBAC, "kind": "Role", "metadata": {"name": name},
        "rules": [{"apiGroups": ["", RBAC.trim_end_matches("/v1")], "resources": resources, "verbs": verbs}]})
}

async fn bind(scope: &Scope, role: &str, user: &str) -> Result<Value> {
    let binding = json!({"apiVersion": RBAC, "kind": "RoleBinding", "metadata": {"name": role},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": user}]});
    scope.resource(RBAC, "rolebindings").create(&binding).await
}

async fn status_as(scope: &Scope, user: &str, call: Call) -> Result<u16> {
    Ok(scope.cluster.call(as_user(call, user)).await?.status)
}

/// Authorizers hear of roles by a watch of their own.
async fn until_status(scope: &Scope, user: &str, call: &Call, expected: u16) -> Result<()> {
    eventually("the authorizer has heard of it", SOON, async || {
        same(&call.operation(), status_as(scope, user, call.clone()).await?, expected)
    })
    .await
}

async fn nobody_may_anything(scope: &Scope) -> Result<()> {
    let answer = scope.cluster.call(as_user(Call::get(scope.pods().path), "nobody-there")).await?;
    let error = refused(answer.ok(), 403, "Forbidden")?;
    let words = format!(
        r#"pods is forbidden: User "nobody-there" cannot list resource "pods" in API group "" in the namespace "{}""#,
        scope.namespace
    );
    contains("message", &error.message, &words)?;
    equal("details", &error.status["details"], &json!({"kind": "pods"}))
}

async fn bindings_grant_and_revoke(scope: &Scope) -> Result<()> {
    let user = scope.unique("user");
    let list = Call::get(scope.config_maps().path);
    same("before", status_as(scope, &user, list.clone()).await?, 403)?;
    roles(scope).create(&role("reader", &["configmaps"], &["list"])).await?;
    bind(scope, "reader", &user).await?;
    until_status(scope, &user, &list, 200).await?;
    same("another verb", status_as(scope, &user, Call::delete(scope.config_maps().path)).await?, 403)?;
    same("another namespace", status_as(scope, &user, Call::get("/api/v1/namespaces/default/configmaps")).await?, 403)?;
    scope.resource(RBAC, "rolebindings").delete("reader").await?;
    until_status(scope, &user, &list, 403).await
}

async fn reviews_agree_with_requests(scope: &Scope) -> Result<()> {
    let user = format!("system:serviceaccount:{}:default", scope.namespace);
    let groups = json!(["system:authenticated", "system:serviceaccounts"]);
    let attributes = json!({"namespace": scope.namespace, "verb": "list", "resource": "configmaps"});
    let spec = json!({"resourceAttributes": attributes, "user": user, "groups": groups, "uid": "x"});
    let local = Call::post(
        format!("/apis/authorization.k8s.io/v1/namespaces/{}/localsubjectaccessreviews", scope.namespace),
        &json!({"apiVersion": "authorization.k8s.io/v1", "kind": "LocalSubjectAccessReview",
            "metadata": {"namespace": scope.namespace}, "spec": spec}),
    );
    let whole = Call::post(
        "/apis/authorization.k8s.io/v1/subjectaccessreviews",
        &json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}),
    );
    let list = Call::get(scope.config_maps().path).header("impersonate-group", "system:authenticated");
    let list = list.header("impersonate-uid", "x");
    for (granted, expected) in [(false, 403), (true, 200)] {
        if granted {
            roles(scope).create(&role("reader", &["configmaps"], &["list"])).await?;
            bind(scope, "reader", &user).await?;
        }
        until_status(scope, &user, &list, expected).await?;
        for review in [&local, &whole] {
            let status = scope.cluster.object(review.clone()).await?["status"].clone();
            equal(&review.path, &status["allowed"], &json!(granted))?;
        }
    }
    Ok(())
}

async fn one_may_ask_about_oneself(scope: &Scope) -> Result<()> {
    let user = scope.unique("user");
    let whoami = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let call = Call::post("/apis/authentication.k8s.io/v1/selfsubjectreviews", &whoami);
    let told = scope.cluster.object(as_user(call, &user)).await?;
    equal("username", &told["status"]["userInfo"]["username"], &json!(user))?;
    contains("groups", &told["status"]["userInfo"]["groups"].to_string(), "system:authenticated")?;
    roles(scope).create(&role("reader", &["configmaps"], &["list"])).await?;
    bind(scope, "reader", &user).await?;
    until_status(scope, &user, &Call::get(scope.config_maps().path), 200).await?;
    let rules = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": scope.namespace}});
    let call = Call::post("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", &rules);
    let told = scope.cluster.object(as_user(call, &user)).await?;
    let rules = told["status"]["resourceRules"].as_array().cloned().unwrap_or_default();
    let mine = rules.iter().find(|rule| rule["resources"] == json!(["configmaps"]));
    let mine = mine.with_context(|| format!("no rule of the role in {rules:?}"))?;
    equal("verbs", &mine["verbs"], &json!(["list"]))
}

async fn roles_are_aggregated(scope: &Scope) -> Result<()> {
    let cluster_roles = scope.global(RBAC, "clusterroles");
    let (whole, part) = (scope.unique("whole"), scope.unique("part"));
    let selector = json!({"matchLabels": {"aggregate-to": whole}});
    let object = json!({"apiVersion": RBAC, "kind": "ClusterRole", "metadata": {"name": whole},
        "aggregationRule": {"clusterRoleSelectors": [selector]}, "rules": []});
    scope.create_global(&cluster_roles, &object).await?;
    let rules = json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}]);
    let object = json!({"apiVersion": RBAC, "kind": "ClusterRole", "rules": rules,
        "metadata": {"name": part, "labels": {"aggregate-to": whole}}});
    scope.create_global(&cluster_roles, &object).await?;
    cluster_roles.until(&whole, "it has the rules of its part", |role| role["rules"] == rules).await?;
    cluster_roles.delete(&part).await?;
    let is_empty = |role: &Value| role["rules"].as_array().is_none_or(Vec::is_empty);
    cluster_roles.until(&whole, "it has lost them", is_empty).await.map(drop)
}

async fn nobody_gives_what_they_do_not_have(scope: &Scope) -> Result<()> {
    let user = scope.unique("user");
    roles(scope).create(&role("writer", &["roles", "configmaps"], &["create", "get", "list"])).await?;
    bind(scope, "writer", &user).await?;
    until_status(scope, &user, &Call::get(roles(scope).path), 200).await?;
    let more = Call::post(roles(scope).path, &role("more", &["secrets"], &["get"]));
    let answer = scope.cluster.call(as_user(more, &user)).await?;
    let error = refused(answer.ok(), 403, "Forbidden")?;
    contains("message", &error.message, "attempting to grant RBAC permissions not currently held")?;
    let same_rights = Call::post(roles(scope).path, &role("same", &["configmaps"], &["get"]));
    same("what is held may be granted", status_as(scope, &user, same_rights).await?, 201)
}

async fn predefined_roles_are_there(scope: &Scope) -> Result<()> {
    for name in ["cluster-admin", "admin", "edit", "view", "system:auth-delegator", "system:node", "system:basic-user"]
    {
        let role = scope.global(RBAC, "clusterroles").get(name).await?;
        ensure!(role["rules"].as_array().is_some_and(|rules| !rules.is_empty()), "{name}: expected rules, saw {role}");
    }
    let path = format!("/apis/{RBAC}/namespaces/kube-system/roles/extension-apiserver-authentication-reader");
    scope.cluster.object(Call::get(path)).await?;
    let map = Call::get("/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication");
    let map = scope.cluster.object(map).await?;
    contains("client-ca-file", map["data"]["client-ca-file"].as_str().unwrap_or_default(), "BEGIN CERTIFICATE")
}

fn requests(scope: &Scope) -> Resource {
    scope.global("certificates.k8s.io/v1", "certificatesigningrequests")
}

/// A request for a certificate of this user's, and the key to it.
async fn ask(scope: &Scope, name: &str, user: &str, signer: &str) -> Result<(Value, String)> {
    let key = rcgen::KeyPair::generate().context("make a key")?;
    let mut parameters = rcgen::CertificateParams::default();
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters.distinguished_name.push(rcgen::DnType::CommonName, user);
    let pem = parameters.serialize_request(&key).context("make a request")?.pem().context("write a request")?;
    let object = json!({"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
        "metadata": {"name": name}, "spec": {"request": base64::engine::general_purpose::STANDARD.encode(pem),
            "signerName": signer, "usages": ["client auth"], "expirationSeconds": 3600}});
    Ok((scope.create_global(&requests(scope), &object).await?, key.serialize_pem()))
}

async fn certificates_are_signed(scope: &Scope) -> Result<()> {
    let (name, user) = (scope.unique("csr"), scope.unique("user"));
    let (made, key) = ask(scope, &name, &user, "kubernetes.io/kube-apiserver-client").await?;
    ensure!(made["spec"]["username"].is_string(), "expected the name of who asked, saw {}", made["spec"]);
    scope.kubectl(&["certificate", "approve", &name]).await?;
    let signed = requests(scope).until(&name, "it is signed", |csr| csr["status"]["certificate"].is_string()).await?;
    let pem = signed["status"]["certificate"].as_str().unwrap_or_default();
    let pem = base64::engine::general_purpose::STANDARD.decode(pem).context("the certificate is no base64")?;
    contains("certificate", &String::from_utf8_lossy(&pem), "-----BEGIN CERTIFICATE-----")?;
    let told = whoami(scope, &pem, key.as_bytes()).await?;
    same("whoami with the certificate", told, user)
}

/// What kubectl is told of the holder of a certificate.
async fn whoami(scope: &Scope, certificate: &[u8], key: &[u8]) -> Result<String> {
    let config = scope.kubectl(&["config", "view", "--raw", "--minify", "-o", "json"]).await?;
    let mut config: Value = serde_json::from_str(&config).context("kubectl's configuration is no JSON")?;
    let encode = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
    config["users"][0]["user"] =
        json!({"client-certificate-data": encode(certificate), "client-key-data": encode(key)});
    let folder = tempfile::tempdir().context("make a folder")?;
    let path = folder.path().join("kubeconfig");
    std::fs::write(&path, config.to_string()).context("write a kubeconfig")?;
    let kubeconfig = format!("--kubeconfig={}", path.display());
    scope.kubectl(&[&kubeconfig, "auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"]).await
}

async fn requests_have_three_faces(scope: &Scope) -> Result<()> {
    let name = scope.unique("csr");
    ask(scope, &name, "user", "example.com/nobody-signs").await?;
    let csrs = requests(scope);
    let condition = |kind: &str| json!({"type": kind, "status": "True", "reason": "Test", "message": "words"});
    let patch = |value: Value| Patch::Merge(json!({"metadata": {"annotations": {"x": "y"}}, "status": value}));
    let main = csrs.patch(&name, patch(json!({"conditions": [condition("Approved")]}))).await?;
    equal("annotation by the main path", &main["metadata"]["annotations"]["x"], &json!("y"))?;
    equal("status by the main path", &main["status"], &json!({}))?;
    let approval =
        csrs.patch(&format!("{name}/approval"), patch(json!({"conditions": [condition("Approved")]}))).await?;
    equal("condition", &approval["status"]["conditions"][0]["type"], &json!("Approved"))?;
    let more = json!({"conditions": [condition("Approved"), condition("StatusUpdate")]});
    let status = csrs.patch(&format!("{name}/status"), patch(more)).await?;
    same("conditions", status["status"]["conditions"].as_array().map(Vec::len), Some(2))?;
    let fields = format!("fieldSelector=spec.signerName%3Dexample.com/nobody-signs,metadata.name%3D{name}");
    same("by its signer", csrs.names(&fields).await?, vec![name.clone()])?;
    csrs.delete_collection(&fields).await?;
    csrs.until_gone(&name).await
}

async fn approvals_are_final(scope: &Scope) -> Result<()> {
    let name = scope.unique("csr");
    ask(scope, &name, "user", "example.com/nobody-signs").await?;
    let (csrs, approval, status) = (requests(scope), format!("{name}/approval"), format!("{name}/status"));
    let condition = |kind: &str| json!({"type": kind, "status": "True", "reason": "Test", "message": "words"});
    let mut read = csrs.get(&approval).await?;
    read["status"] = json!({"conditions": [condition("Foreign")], "certificate": "eA=="});
    let put = csrs.put(&approval, &read).await?;
    equal("condition", &put["status"]["conditions"][0]["type"], &json!("Foreign"))?;
    same("certificate at /approval", put["status"].get("certificate"), None)?;
    let patch = |status: Value| Patch::Merge(json!({"status": status}));
    let both = json!({"conditions": [condition("Foreign"), condition("Approved")]});
    csrs.patch(&approval, patch(both)).await?;
    refused(csrs.patch(&approval, patch(json!({"conditions": [condition("Foreign")]}))).await, 422, "Invalid")?;
    let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    refused(csrs.patch(&status, patch(json!({"certificate": encode("no PEM")}))).await, 422, "Invalid")?;
    let key = rcgen::KeyPair::generate().context("make a key")?;
    let certificate = rcgen::CertificateParams::default().self_signed(&key).context("make a certificate")?;
    let pem = json!({"certificate": encode(&certificate.pem())});
    equal(
        "certificate",
        &csrs.patch(&status, patch(pem.clone())).await?["status"]["certificate"],
        &pem["certificate"],
    )?;
    let mut read = csrs.get(&status).await?;
    read["status"]["conditions"] = json!([condition("Foreign"), condition("Approved"), condition("StatusUpdate")]);
    same("conditions", csrs.put(&status, &read).await?["status"]["conditions"].as_array().map(Vec::len), Some(3))
}

async fn denied_requests_get_nothing(scope: &Scope) -> Result<()> {
    let name = scope.unique("csr");
    ask(scope, &name, "user", "kubernetes.io/kube-apiserver-client").await?;
    scope.kubectl(&["certificate", "deny", &name]).await?;
    let denied = requests(scope).get(&name).await?;
    equal("condition", &denied["status"]["conditions"][0]["type"], &json!("Denied"))?;
    let both = json!({"status": {"conditions": [denied["status"]["conditions"][0],
        {"type": "Approved", "status": "True", "reason": "Test"}]}});
    refused(requests(scope).patch(&format!("{name}/approval"), Patch::Merge(both)).await, 422, "Invalid")?;
    same("certificate", requests(scope).get(&name).await?["status"].get("certificate"), None)
}
