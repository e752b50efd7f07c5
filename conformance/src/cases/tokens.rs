//! ServiceAccounts: their tokens in pods and on request, the root certificate, and the issuer's discovery.

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use serde_json::{Value, json};

use crate::catalogue::{Area, Group, case};
use crate::cluster::{Call, Patch, Scope, pod};
use crate::expect::{contains, equal, matches, refused, same};

pub(super) const GROUP: Group = Group {
    name: "tokens",
    area: Area::Kinds,
    capability: "ServiceAccounts: tokens in pods and on request, reviews, root certificates, issuer discovery",
    cases: &[
        case!(pods_get_a_token, "a pod finds its token, the root certificate and its namespace", quick),
        case!(reviews_tell_the_pod, "a review of a pod's token tells the account, its groups, the pod and the node"),
        case!(automount_can_be_refused, "the pod's word on mounting a token is above the account's", quick),
        case!(projected_tokens_have_an_audience, "a projected token has the audience and the end that were asked for"),
        case!(
            tokens_are_made_on_request,
            "a token on request is reviewed as its account, for its audience only",
            quick
        ),
        case!(tokens_end_with_their_account, "a token of a deleted account is good no more"),
        case!(a_wrong_token_is_401, "a token that nobody made is a 401", quick),
        case!(
            root_certificates_come_back,
            "kube-root-ca.crt is made anew when deleted, and restored when emptied",
            quick
        ),
        case!(default_accounts_come_back, "the default account is made anew when deleted", quick),
        case!(the_issuer_can_be_discovered, "the issuer tells its keys, and they are those of the tokens"),
        case!(pods_discover_the_issuer, "a pod reads the issuer's document and keys with what it was given"),
        case!(pods_reach_the_api, "a pod reaches the API by name, with its token and certificate"),
    ],
};

const MOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

fn accounts(scope: &Scope) -> crate::cluster::Resource {
    scope.resource("v1", "serviceaccounts")
}

async fn review(scope: &Scope, token: &str, audiences: &[&str]) -> Result<Value> {
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
        "spec": {"token": token, "audiences": audiences}});
    let answer = scope.cluster.object(Call::post("/apis/authentication.k8s.io/v1/tokenreviews", &review)).await?;
    Ok(answer["status"].clone())
}

async fn request(scope: &Scope, account: &str, audience: &[&str]) -> Result<String> {
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
        "spec": {"audiences": audience, "expirationSeconds": 600}});
    let answer = accounts(scope).post(&format!("{account}/token"), &request).await?;
    answer["status"]["token"].as_str().map(String::from).with_context(|| format!("no token in {answer}"))
}

fn claims(token: &str) -> Result<Value> {
    matches("token", token, r"^[\w-]+\.[\w-]+\.[\w-]+$")?;
    let part = token.split('.').nth(1).unwrap_or_default();
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).context("the claims are no base64")?;
    serde_json::from_slice(&bytes).context("the claims are no JSON")
}

async fn pods_get_a_token(scope: &Scope) -> Result<()> {
    let script = format!("cd {MOUNT} && cat namespace && echo && cat token && echo && cat ca.crt");
    let log = scope.output(&pod("reader", &scope.cluster.images.busybox, &script)).await?;
    let mut lines = log.splitn(3, '\n');
    same("namespace", lines.next(), Some(scope.namespace.as_str()))?;
    let claims = claims(lines.next().unwrap_or_default())?;
    let subject = format!("system:serviceaccount:{}:default", scope.namespace);
    same("sub", claims["sub"].as_str(), Some(subject.as_str()))?;
    let root = scope.config_maps().get("kube-root-ca.crt").await?;
    same("ca.crt", lines.next().map(str::trim_end), root["data"]["ca.crt"].as_str().map(str::trim_end))?;
    let volume = scope.pods().get("reader").await?["spec"]["volumes"][0].clone();
    matches("volume", volume["name"].as_str().unwrap_or_default(), "^kube-api-access-[a-z0-9]{5}$")?;
    let sources = json!([{"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}}]);
    equal("its sources", &volume["projected"], &json!({"defaultMode": 0o644, "sources": sources}))
}

async fn reviews_tell_the_pod(scope: &Scope) -> Result<()> {
    let script = format!("cat {MOUNT}/token; sleep 3600");
    let running = scope.start(&pod("reader", &scope.cluster.images.busybox, &script)).await?;
    let token = scope.exec("reader", &format!("cat {MOUNT}/token")).await?;
    let status = review(scope, token.trim(), &[]).await?;
    equal("authenticated", &status["authenticated"], &json!(true))?;
    let user = &status["user"];
    let namespace = &scope.namespace;
    equal("username", &user["username"], &json!(format!("system:serviceaccount:{namespace}:default")))?;
    let mut groups: Vec<&str> = user["groups"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    groups.sort_unstable();
    let of_namespace = format!("system:serviceaccounts:{namespace}");
    same("groups", groups, vec!["system:authenticated", "system:serviceaccounts", &of_namespace])?;
    let node_name = running["spec"]["nodeName"].as_str().unwrap_or_default();
    let node = scope.global("v1", "nodes").get(node_name).await?;
    for (key, value) in [
        ("pod-name", json!("reader")),
        ("pod-uid", running["metadata"]["uid"].clone()),
        ("node-name", json!(node_name)),
        ("node-uid", node["metadata"]["uid"].clone()),
    ] {
        equal(key, &user["extra"][format!("authentication.kubernetes.io/{key}")], &json!([value]))?;
    }
    let ids = &user["extra"]["authentication.kubernetes.io/credential-id"];
    same("values of credential-id", ids.as_array().map(Vec::len), Some(1))?;
    matches("credential-id", ids[0].as_str().unwrap_or_default(), "^JTI=.+")
}

async fn automount_can_be_refused(scope: &Scope) -> Result<()> {
    for (account_says, name) in [(None, "silent"), (Some(true), "yes"), (Some(false), "no")] {
        let mut account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}});
        if let Some(says) = account_says {
            account["automountServiceAccountToken"] = says.into();
        }
        accounts(scope).create(&account).await?;
        for pod_says in [None, Some(true), Some(false)] {
            let mut object =
                pod(&format!("{name}-{}", pod_says.map_or("silent".into(), |says| says.to_string())), "x", "");
            object["spec"]["serviceAccountName"] = name.into();
            if let Some(says) = pod_says {
                object["spec"]["automountServiceAccountToken"] = says.into();
            }
            let made = scope.pods().create_with("dryRun=All", &object).await?;
            let mounts = made["spec"]["containers"][0]["volumeMounts"].as_array().cloned().unwrap_or_default();
            let seen = mounts.iter().any(|mount| mount["mountPath"] == MOUNT);
            let expected = pod_says.or(account_says).unwrap_or(true);
            same(&format!("mounted, account {account_says:?}, pod {pod_says:?}"), seen, expected)?;
        }
    }
    Ok(())
}

async fn projected_tokens_have_an_audience(scope: &Scope) -> Result<()> {
    let mut object = pod("reader", &scope.cluster.images.busybox, "cat /tokens/mine; ls -Ll /tokens >&2");
    object["spec"]["volumes"] = json!([{"name": "tokens", "projected": {"sources": [{"serviceAccountToken": {
        "path": "mine", "audience": "vault", "expirationSeconds": 7200}}]}}]);
    object["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "tokens", "mountPath": "/tokens"}]);
    let log = scope.output(&object).await?;
    let token = log.split_whitespace().find(|word| word.len() > 100).context("no token in the log")?;
    // The listing follows a token without newline on another stream, or goes before it.
    let token: String = token.chars().take_while(|one| one.is_ascii_alphanumeric() || "-_.".contains(*one)).collect();
    let claims = claims(token.trim_end_matches("total"))?;
    equal("aud", &claims["aud"], &json!(["vault"]))?;
    let length = claims["exp"].as_i64().unwrap_or_default() - claims["iat"].as_i64().unwrap_or_default();
    same("seconds", length, 7200)?;
    equal("pod", &claims["kubernetes.io"]["pod"]["name"], &json!("reader"))
}

async fn tokens_are_made_on_request(scope: &Scope) -> Result<()> {
    accounts(scope).until("default", "it is there", |_| true).await?;
    let token = request(scope, "default", &["vault"]).await?;
    let status = review(scope, &token, &["vault"]).await?;
    equal("authenticated", &status["authenticated"], &json!(true))?;
    equal("audiences", &status["audiences"], &json!(["vault"]))?;
    let user = json!(format!("system:serviceaccount:{}:default", scope.namespace));
    equal("username", &status["user"]["username"], &user)?;
    let other = review(scope, &token, &["other"]).await?;
    ensure!(other["authenticated"] != true, "expected a refusal for another audience, saw {other}");
    let short =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 5}});
    refused(accounts(scope).post("default/token", &short).await, 422, "Invalid").map(drop)
}

async fn tokens_end_with_their_account(scope: &Scope) -> Result<()> {
    accounts(scope)
        .create(&json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "brief"}}))
        .await?;
    let token = request(scope, "brief", &[]).await?;
    equal("before", &review(scope, &token, &[]).await?["authenticated"], &json!(true))?;
    accounts(scope).delete("brief").await?;
    crate::expect::eventually("the token is refused", crate::cluster::SOON, async || {
        let after = review(scope, &token, &[]).await?;
        ensure!(after["authenticated"] != true, "saw {after}");
        Ok(())
    })
    .await
}

async fn a_wrong_token_is_401(scope: &Scope) -> Result<()> {
    let call = Call::get(&scope.pods().path).bearer("nobody.made.this");
    let answer = scope.cluster.call(call).await?;
    let error = refused(answer.ok(), 401, "Unauthorized")?;
    same("message", error.message.as_str(), "Unauthorized")
}

/// A namespace is not without its root certificate for longer.
const PUBLISHED: std::time::Duration = std::time::Duration::from_secs(30);

async fn root_certificates_come_back(scope: &Scope) -> Result<()> {
    let maps = scope.config_maps();
    let first = maps.until("kube-root-ca.crt", "it is there", |_| true).await?;
    contains("ca.crt", first["data"]["ca.crt"].as_str().unwrap_or_default(), "BEGIN CERTIFICATE")?;
    maps.delete("kube-root-ca.crt").await?;
    let is_new = |map: &Value| map["metadata"]["uid"] != first["metadata"]["uid"];
    maps.until_within(PUBLISHED, "kube-root-ca.crt", "it is made anew", is_new).await?;
    let emptied = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kube-root-ca.crt"},
        "data": {"ca.crt": ""}});
    maps.replace(&emptied).await?;
    let restored = |map: &Value| map["data"] == first["data"];
    maps.until_within(PUBLISHED, "kube-root-ca.crt", "its data is restored", restored).await.map(drop)
}

async fn default_accounts_come_back(scope: &Scope) -> Result<()> {
    let first = accounts(scope).until("default", "it is there", |_| true).await?;
    accounts(scope).delete_collection("").await?;
    let is_new = |account: &Value| account["metadata"]["uid"] != first["metadata"]["uid"];
    accounts(scope).until("default", "it is made anew", is_new).await.map(drop)
}

async fn the_issuer_can_be_discovered(scope: &Scope) -> Result<()> {
    accounts(scope).until("default", "it is there", |_| true).await?;
    let token = request(scope, "default", &["oidc-discovery-test"]).await?;
    let document = scope.cluster.object(Call::get("/.well-known/openid-configuration").accept("*/*")).await?;
    equal("issuer", &document["issuer"], &claims(&token)?["iss"])?;
    equal("response types", &document["response_types_supported"], &json!(["id_token"]))?;
    equal("subject types", &document["subject_types_supported"], &json!(["public"]))?;
    contains("jwks_uri", document["jwks_uri"].as_str().unwrap_or_default(), "/openid/v1/jwks")?;
    let keys = scope.cluster.object(Call::get("/openid/v1/jwks").accept("*/*")).await?;
    let header =
        base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap_or_default())?;
    let header: Value = serde_json::from_slice(&header)?;
    let key = keys["keys"].as_array().into_iter().flatten().find(|key| key["kid"] == header["kid"]);
    let key = key.with_context(|| format!("no key of the token's kid {} in {keys}", header["kid"]))?;
    equal("alg", &key["alg"], &header["alg"])?;
    matches("alg", header["alg"].as_str().unwrap_or_default(), "^(RS256|ES256)$")?;
    let roles = scope.global("rbac.authorization.k8s.io/v1", "clusterroles");
    let role = roles.get("system:service-account-issuer-discovery").await?;
    contains("rules", &role["rules"].to_string(), "/openid/v1/jwks")
}

/// As a program would that is given a token and is to find out whether it is good.
async fn pods_discover_the_issuer(scope: &Scope) -> Result<()> {
    let document = scope.cluster.object(Call::get("/.well-known/openid-configuration").accept("*/*")).await?;
    let issuer = document["issuer"].as_str().context("no issuer")?;
    let script = format!(
        "cd {MOUNT}; get() {{ curl -sS --fail --max-time 5 --cacert ca.crt -H \"Authorization: Bearer $(cat token)\" \"$1\"; }}
         until document=$(get {issuer}/.well-known/openid-configuration); do sleep 1; done
         keys=${{document#*\\\"jwks_uri\\\":\\\"}}
         keys=$(get \"${{keys%%\\\"*}}\") || exit 1
         echo \"$document\"; echo \"$keys\"; cat /tokens/mine"
    );
    let mut object = pod("client", &scope.cluster.images.tools, &script);
    object["spec"]["activeDeadlineSeconds"] = 90.into();
    object["spec"]["volumes"] = json!([{"name": "tokens", "projected": {"sources": [{"serviceAccountToken": {
        "path": "mine", "audience": "oidc-discovery-test", "expirationSeconds": 600}}]}}]);
    object["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "tokens", "mountPath": "/tokens"}]);
    let log = scope.output(&object).await?;
    let lines: Vec<&str> = log.lines().filter(|line| line.starts_with('{') || line.starts_with("ey")).collect();
    let [told, keys, token] = lines[..] else { anyhow::bail!("expected a document, keys and a token, saw {log}") };
    let told: Value = serde_json::from_str(told).context("the document is no JSON")?;
    equal("issuer", &told["issuer"], &json!(issuer))?;
    equal("iss", &claims(token)?["iss"], &json!(issuer))?;
    let header =
        base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap_or_default())?;
    let header: Value = serde_json::from_slice(&header)?;
    contains("keys", keys, &format!("\"kid\":{}", header["kid"]))
}

async fn pods_reach_the_api(scope: &Scope) -> Result<()> {
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "view"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": scope.namespace}]});
    scope.resource("rbac.authorization.k8s.io/v1", "rolebindings").create(&binding).await?;
    let script = format!(
        "cd {MOUNT} && until curl -sS --fail --max-time 5 --cacert ca.crt -H \"Authorization: Bearer $(cat token)\" \
         https://kubernetes.default.svc/api/v1/namespaces/$(cat namespace)/pods; do sleep 1; done"
    );
    let mut object = pod("client", &scope.cluster.images.tools, &script);
    object["spec"]["activeDeadlineSeconds"] = 90.into();
    let log = scope.output(&object).await?;
    contains("answer", &log, "\"PodList\"")?;
    scope.pods().patch("client", Patch::Merge(json!({"metadata": {"labels": {"done": "yes"}}}))).await.map(drop)
}
