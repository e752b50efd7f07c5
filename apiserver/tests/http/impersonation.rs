//! Acting as somebody else, over TLS with RBAC: by the legacy right, and by the narrower ones of each mode.

use http::Method;
use serde_json::{Value, json};

use crate::client::{CONFIG_MAPS, Reply, call, get, post};
use crate::rights::{grant, soon};
use crate::secure::Secure;

const REVIEWS: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";

/// Who a request counts as when it is made with these headers.
async fn review(client: &kube::Client, headers: &[(&str, &str)]) -> Reply {
    let headers = [&[("content-type", "application/json")], headers].concat();
    call(client, Method::POST, REVIEWS, &headers, "{}").await
}

async fn get_with(client: &kube::Client, path: &str, headers: &[(&str, &str)]) -> Reply {
    call(client, Method::GET, path, headers, "").await
}

#[track_caller]
fn says(reply: &Reply, why: &str) {
    reply.refused(403, "Forbidden");
    assert_eq!(reply.body["message"], why);
}

fn rule(verbs: &[&str], group: &str, resources: &[&str]) -> Value {
    json!({"verbs": verbs, "apiGroups": [group], "resources": resources})
}

/// A right to be some users in a mode.
fn to_be(verb: &str, resource: &str, names: &[&str]) -> Value {
    let mut rule = rule(&[verb], "authentication.k8s.io", &[resource]);
    rule["resourceNames"] = json!(names);
    rule
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_another_for_some_requests_only() {
    let server = Secure::with_roles().await;
    let (master, bob) = (server.master(), server.client("bob", &[]));
    let eve = [("Impersonate-User", "eve")];
    let list = get_with(&bob, CONFIG_MAPS, &eve).await;
    says(
        &list,
        "configmaps is forbidden: User \"bob\" cannot impersonate-on:user-info:list resource \"configmaps\" in API group \"\" in the namespace \"default\"",
    );
    grant(&master, "eves", "eve", json!([rule(&["get", "list"], "", &["configmaps"])])).await;
    grant(
        &master,
        "on",
        "bob",
        json!([
            rule(&["impersonate-on:user-info:list", "list"], "", &["configmaps"]),
            rule(&["impersonate-on:user-info:create"], "authentication.k8s.io", &["selfsubjectreviews"]),
        ]),
    )
    .await;
    soon(&bob, CONFIG_MAPS).await;
    let list = get_with(&bob, CONFIG_MAPS, &eve).await;
    says(
        &list,
        "users.authentication.k8s.io \"eve\" is forbidden: User \"bob\" cannot impersonate:user-info resource \"users\" in API group \"authentication.k8s.io\" at the cluster scope",
    );
    let rights = [
        to_be("impersonate:user-info", "users", &["eve"]),
        to_be("impersonate:user-info", "groups", &["a"]),
        to_be("impersonate:user-info", "userextras/acme.io/scope", &["*", "x"]),
        rule(&["list"], "", &["secrets"]),
    ];
    grant(&master, "eve-in-part", "bob", json!(rights)).await;
    soon(&bob, "/api/v1/secrets").await;
    get_with(&bob, CONFIG_MAPS, &eve).await.expect(200);
    let made = get_with(&bob, &format!("{CONFIG_MAPS}/a"), &eve).await;
    says(
        &made,
        "configmaps \"a\" is forbidden: User \"bob\" cannot impersonate-on:user-info:get resource \"configmaps\" in API group \"\" in the namespace \"default\"",
    );
    let with = [eve[0], ("Impersonate-Group", "a"), ("Impersonate-Extra-Acme.io%2fscope", "x")];
    let info = review(&bob, &with).await.expect(201)["status"]["userInfo"].clone();
    let wanted = json!({"username": "eve", "groups": ["a", "system:authenticated"], "extra": {"acme.io/scope": ["x"]}});
    assert_eq!(info, wanted);
    the_rest_of_a_user_is_asked_for_too(&bob).await;
    // Not by the rights for other users.
    review(&bob, &[("Impersonate-User", "system:node:n")]).await.refused(403, "Forbidden");
    let told = get(&master, "/metrics").await.expect(200);
    let told = told.as_str().expect("text");
    assert!(told.contains("apiserver_impersonation_attempts_total{decision=\"allowed\",mode=\"user-info\"}"), "{told}");
}

/// Of one who may be eve, and has been: the mode that was good last tells what it lacks.
async fn the_rest_of_a_user_is_asked_for_too(bob: &kube::Client) {
    let of_the_mode = "\"bob\" cannot impersonate:user-info resource";
    for (header, value, why) in [
        (
            "Impersonate-Group",
            "system:masters",
            format!(
                "groups.authentication.k8s.io \"system:masters\" is forbidden: User {of_the_mode} \"groups\" in API group \"authentication.k8s.io\" at the cluster scope: impersonating the system:masters group is not allowed"
            ),
        ),
        (
            "Impersonate-Extra-scope",
            "x",
            format!(
                "userextras.authentication.k8s.io is forbidden: User {of_the_mode} \"userextras\" in API group \"authentication.k8s.io\" at the cluster scope: impersonating an invalid key in extra is not allowed: extra.key: Invalid value: \"scope\": must be a domain-prefixed path (such as \"acme.io/foo\")"
            ),
        ),
        (
            "Impersonate-Extra-acme.io%2f%53cope",
            "x",
            format!(
                "userextras.authentication.k8s.io is forbidden: User {of_the_mode} \"userextras\" in API group \"authentication.k8s.io\" at the cluster scope: impersonating a non-lowercase key in extra is not allowed: \"acme.io/Scope\""
            ),
        ),
        (
            "Impersonate-Group",
            "",
            format!(
                "groups.authentication.k8s.io is forbidden: User {of_the_mode} \"groups\" in API group \"authentication.k8s.io\" at the cluster scope: impersonating the empty string group is not allowed"
            ),
        ),
        (
            "Impersonate-Extra-acme.io%2fscope",
            "",
            format!(
                "userextras.authentication.k8s.io is forbidden: User {of_the_mode} \"userextras\" in API group \"authentication.k8s.io\" at the cluster scope: impersonating the empty string value in extra is not allowed"
            ),
        ),
        (
            "Impersonate-Uid",
            "7",
            format!(
                "uids.authentication.k8s.io \"7\" is forbidden: User {of_the_mode} \"uids\" in API group \"authentication.k8s.io\" at the cluster scope"
            ),
        ),
    ] {
        says(&review(bob, &[("Impersonate-User", "eve"), (header, value)]).await, &why);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_groups_and_values_are_a_right_each_or_one_for_all() {
    let server = Secure::with_roles().await;
    let master = server.master();
    let four = ["a", "b", "c", "d"];
    let extra = "userextras/acme.io/scope";
    for (user, groups, extra, values, allowed) in [
        ("all", &["*"][..], "userextras/*", &["*"][..], true),
        ("each", &four, extra, &four, true),
        ("three", &four[..3], extra, &four[..3], false),
    ] {
        let be_eve = to_be("impersonate:user-info", "users", &["eve"]);
        let on = rule(&["impersonate-on:user-info:create"], "authentication.k8s.io", &["selfsubjectreviews"]);
        let rights = [
            be_eve,
            on,
            to_be("impersonate:user-info", "groups", groups),
            to_be("impersonate:user-info", extra, values),
            rule(&["list"], "", &["configmaps"]),
        ];
        grant(&master, user, user, json!(rights)).await;
        let client = server.client(user, &[]);
        soon(&client, CONFIG_MAPS).await;
        for header in ["Impersonate-Group", "Impersonate-Extra-acme.io%2fscope"] {
            let with = [&[("Impersonate-User", "eve")][..], &four.map(|value| (header, value))].concat();
            let code = review(&client, &with).await.code;
            assert_eq!(code, if allowed { 201 } else { 403 }, "{user} {header}");
            // Of less than four each is asked for.
            let code = review(&client, &with[..4]).await.code;
            assert_eq!(code, if user == "all" { 403 } else { 201 }, "{user} {header}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn masters_are_whom_they_name() {
    let server = Secure::with_roles().await;
    let master = server.master();
    for extra in ["scope", "Acme.io%2fscope"] {
        let key = format!("Impersonate-Extra-{extra}");
        let headers = [("Impersonate-User", "bob"), ("Impersonate-Group", "g"), (key.as_str(), "s")];
        let info = review(&master, &headers).await.expect(201)["status"]["userInfo"].clone();
        assert_eq!((&info["username"], &info["groups"]), (&json!("bob"), &json!(["g", "system:authenticated"])));
        assert_eq!(info["extra"][extra.to_lowercase().replace("%2f", "/")], json!(["s"]));
    }
    review(&master, &[("Impersonate-Group", "g")]).await.refused(400, "BadRequest");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_the_legacy_right_needs_no_other() {
    let server = Secure::with_roles().await;
    let (master, bob) = (server.master(), server.client("bob", &[]));
    let rights = [
        rule(&["impersonate"], "", &["users", "groups"]),
        rule(&["impersonate"], "authentication.k8s.io", &["userextras/scope"]),
        rule(&["list"], "", &["configmaps"]),
    ];
    grant(&master, "legacy", "bob", json!(rights)).await;
    soon(&bob, CONFIG_MAPS).await;
    let with = [("Impersonate-User", "eve"), ("Impersonate-Group", "system:masters"), ("Impersonate-Extra-scope", "x")];
    let info = review(&bob, &with).await.expect(201)["status"]["userInfo"].clone();
    assert_eq!(info["groups"], json!(["system:masters", "system:authenticated"]));
    // What was good last is told of first.
    let refused = review(&bob, &[with[0], ("Impersonate-Extra-other", "x")]).await;
    says(
        &refused,
        "userextras.authentication.k8s.io \"x\" is forbidden: User \"bob\" cannot impersonate resource \"userextras/other\" in API group \"authentication.k8s.io\" at the cluster scope",
    );
    let account = review(&bob, &[("Impersonate-User", "system:serviceaccount:default:a")]).await;
    says(
        &account,
        "serviceaccounts \"a\" is forbidden: User \"bob\" cannot impersonate resource \"serviceaccounts\" in API group \"\" in the namespace \"default\"",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_and_nodes_have_modes_of_their_own() {
    let server = Secure::with_roles().await;
    let (master, bob) = (server.master(), server.client("bob", &[]));
    let on = |mode: &str| {
        rule(&[&format!("impersonate-on:{mode}:create")], "authentication.k8s.io", &["selfsubjectreviews"])
    };
    let rights = [
        on("serviceaccount"),
        on("arbitrary-node"),
        to_be("impersonate:serviceaccount", "serviceaccounts", &["a"]),
        to_be("impersonate:arbitrary-node", "nodes", &["n"]),
        rule(&["list"], "", &["configmaps"]),
    ];
    grant(&master, "modes", "bob", json!(rights)).await;
    soon(&bob, CONFIG_MAPS).await;
    let groups = async |user: &str, expected: Value| {
        let info = review(&bob, &[("Impersonate-User", user)]).await.expect(201)["status"]["userInfo"].clone();
        assert_eq!((&info["username"], &info["groups"]), (&json!(user), &expected));
    };
    let of_accounts = json!(["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"]);
    groups("system:serviceaccount:default:a", of_accounts).await;
    groups("system:node:n", json!(["system:nodes", "system:authenticated"])).await;
    for user in ["system:serviceaccount:default:b", "system:node:m", "system:node:N", "eve"] {
        review(&bob, &[("Impersonate-User", user)]).await.refused(403, "Forbidden");
    }
    // More than a name is not to be had in these modes.
    let more = [("Impersonate-User", "system:node:n"), ("Impersonate-Group", "system:nodes")];
    review(&bob, &more).await.refused(403, "Forbidden");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pods_account_may_be_the_node_that_its_token_is_bound_to() {
    let server = Secure::with_roles().await;
    let master = server.master();
    for name in ["n", "m"] {
        post(&master, "/api/v1/nodes", &json!({"metadata": {"name": name}})).await.expect(201);
    }
    post(&master, ACCOUNTS, &json!({"metadata": {"name": "agent"}})).await.expect(201);
    let uid = get(&master, "/api/v1/nodes/n").await.expect(200)["metadata"]["uid"].clone();
    let bound = json!({"spec": {"audiences": [], "boundObjectRef": {"apiVersion": "v1", "kind": "Node", "name": "n", "uid": uid}}});
    let token = post(&master, &format!("{ACCOUNTS}/agent/token"), &bound).await.expect(201);
    let agent = server.bearer(token["status"]["token"].as_str().expect("a token"));
    let itself = [("Impersonate-User", "system:node:n")];
    let subject = "system:serviceaccount:default:agent";
    grant(
        &master,
        "on",
        subject,
        json!([
            rule(&["impersonate-on:associated-node:create"], "authentication.k8s.io", &["selfsubjectreviews"]),
            rule(&["list"], "", &["configmaps"]),
        ]),
    )
    .await;
    soon(&agent, CONFIG_MAPS).await;
    says(
        &review(&agent, &itself).await,
        &format!(
            "nodes.authentication.k8s.io \"*\" is forbidden: User \"{subject}\" cannot impersonate:associated-node resource \"nodes\" in API group \"authentication.k8s.io\" at the cluster scope"
        ),
    );
    let right = [
        rule(&["impersonate:associated-node"], "authentication.k8s.io", &["nodes"]),
        rule(&["list"], "", &["secrets"]),
    ];
    grant(&master, "itself", subject, json!(right)).await;
    soon(&agent, "/api/v1/secrets").await;
    let info = review(&agent, &itself).await.expect(201)["status"]["userInfo"].clone();
    assert_eq!(info, json!({"username": "system:node:n", "groups": ["system:nodes", "system:authenticated"]}));
    review(&agent, &[("Impersonate-User", "system:node:m")]).await.refused(403, "Forbidden");
}
