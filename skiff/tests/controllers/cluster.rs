//! Controllers of the cluster itself: endpoints, authorities, roles, certificates.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::{Place, condition, story, template};

#[test]
fn a_service_has_the_addresses_of_its_pods() {
    story("services", async |place: &Place| {
        let spec =
            json!({"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template("web", "Running")});
        place
            .create(json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "web"}, "spec": spec}))
            .await;
        place
            .create(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {
            "selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}}))
            .await;
        let endpoints = place.object("v1", "Endpoints", "web");
        let both =
            |endpoints: &Value| endpoints["subsets"][0]["addresses"].as_array().is_some_and(|all| all.len() == 2);
        let endpoints = endpoints.until("two addresses", both).await;
        assert_eq!(endpoints["subsets"][0]["ports"][0]["port"], 8080);
        const OF_SERVICE: &str = "kubernetes.io/service-name=web";
        let slice = place.until_made("discovery.k8s.io/v1", "EndpointSlice", OF_SERVICE).await;
        let ready = |slice: &Value| {
            let endpoints = slice["endpoints"].as_array().into_iter().flatten();
            endpoints.filter(|e| e["conditions"]["ready"] == true && e["zone"].is_string()).count() == 2
        };
        slice.until("two ready endpoints", ready).await;
        assert_eq!(slice.all(OF_SERVICE).await.len(), 1);
    });
}

#[test]
fn every_namespace_has_an_account_and_the_authority() {
    story("beginnings", async |place: &Place| {
        let published = place.object("v1", "ConfigMap", "kube-root-ca.crt");
        let published = published.until("published", |map| map["data"]["ca.crt"].is_string()).await;
        let authority = std::fs::read_to_string(place.cluster.plane.path("ca.crt")).unwrap();
        assert_eq!(published["data"]["ca.crt"], authority);
        let account = place.object("v1", "ServiceAccount", "default");
        let before = account.get().await["metadata"]["uid"].clone();
        account.delete().await;
        account.until("made again", |account| account["metadata"]["uid"] != before).await;
    });
}

#[test]
fn a_role_is_the_sum_of_those_with_its_labels() {
    story("roles", async |place: &Place| {
        let selector = json!({"matchLabels": {"example.com/part-of": "sum"}});
        let role = |name: &str, more: Value| {
            let mut role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name}});
            role.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            role
        };
        let sum = role("sum", json!({"rules": [], "aggregationRule": {"clusterRoleSelectors": [selector]}}));
        let sum = place.create(sum).await;
        let rule = json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]});
        let metadata = json!({"name": "part", "labels": {"example.com/part-of": "sum"}});
        let part = place.create(role("part", json!({"metadata": metadata, "rules": [rule]}))).await;
        sum.until("the part's rule", |role| role["rules"] == json!([rule])).await;
        part.delete().await;
        sum.until("nothing", |role| role["rules"].as_array().is_none_or(Vec::is_empty)).await;
        sum.delete().await;
    });
}

#[test]
fn a_client_certificate_is_signed_once_it_is_approved() {
    story("certificates", async |place: &Place| {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, "a person");
        let request = params.serialize_request(&rcgen::KeyPair::generate().unwrap()).unwrap().pem().unwrap();
        let spec = json!({"request": STANDARD.encode(request), "signerName": "kubernetes.io/kube-apiserver-client",
            "usages": ["client auth"], "expirationSeconds": 3600});
        let object = json!({"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
            "metadata": {"name": "person"}, "spec": spec});
        let request = place.create(object).await;
        assert!(request.get().await["status"]["certificate"].is_null());
        let approved = json!({"type": "Approved", "status": "True", "reason": "Test", "message": "",
            "lastUpdateTime": jiff::Timestamp::now().to_string()});
        request.merge_subresource("approval", json!({"status": {"conditions": [approved]}})).await;
        let signed = request.until("signed", |request| request["status"]["certificate"].is_string()).await;
        assert!(condition(&signed, "Failed").is_none());
        let pem = STANDARD.decode(signed["status"]["certificate"].as_str().unwrap()).unwrap();
        assert!(pem.starts_with(b"-----BEGIN CERTIFICATE-----"));
        request.delete().await;
    });
}

#[test]
fn a_token_in_a_secret_is_good_until_its_account_goes() {
    story("tokens", async |place: &Place| {
        let account =
            place.create(json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot"}})).await;
        let metadata = json!({"name": "token", "annotations": {"kubernetes.io/service-account.name": "robot"}});
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token", "metadata": metadata});
        let secret = place.create(secret).await;
        let filled = secret.until("a token", |secret| secret["data"]["token"].is_string()).await;
        let text =
            |field: &str| String::from_utf8(STANDARD.decode(filled["data"][field].as_str().unwrap()).unwrap()).unwrap();
        assert_eq!(text("namespace"), "tokens");
        assert_eq!(text("ca.crt"), std::fs::read_to_string(place.cluster.plane.path("ca.crt")).unwrap());
        let review = |token: String| json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "metadata": {}, "spec": {"token": token}});
        let answer = place.post("/apis/authentication.k8s.io/v1/tokenreviews", &review(text("token"))).await;
        assert_eq!(answer["status"]["user"]["username"], "system:serviceaccount:tokens:robot", "{answer}");
        secret
            .until("its use is noted", |s| s["metadata"]["labels"]["kubernetes.io/legacy-token-last-used"].is_string())
            .await;
        account.delete().await;
        secret.until_gone().await;
        let answer = place.post("/apis/authentication.k8s.io/v1/tokenreviews", &review(text("token"))).await;
        assert_ne!(answer["status"]["authenticated"], true, "{answer}");
    });
}

#[test]
fn service_addresses_may_come_of_a_range_of_their_own() {
    const HELD: &str =
        "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR";
    story("ranges", async |place: &Place| {
        let ready = |range: &Value| condition(range, "Ready").is_some();
        let default = place.object("networking.k8s.io/v1", "ServiceCIDR", "kubernetes");
        let protected =
            |range: &Value| range["metadata"]["finalizers"] == json!(["networking.k8s.io/service-cidr-finalizer"]);
        default.until("ready and protected", |range| ready(range) && protected(range)).await;
        let range = json!({"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "more"},
            "spec": {"cidrs": ["10.77.0.0/28"]}});
        let range = place.create(range).await;
        range.until("ready", ready).await;
        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {
            "clusterIP": "10.77.0.5", "ports": [{"port": 80}]}});
        let service = place.create(service).await;
        range.delete().await;
        let held = |range: &Value| range["status"]["conditions"][0]["message"] == HELD;
        range.until("it waits for the Service", held).await;
        let late = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "late"}, "spec": {
            "clusterIP": "10.77.0.6", "ports": [{"port": 80}]}});
        assert_eq!(place.refused(late).await.code, 422, "no addresses of one that goes");
        service.delete().await;
        range.until_gone().await;
    });
}

#[test]
fn nodes_are_told_how_long_secrets_may_be_kept() {
    story("ttl", async |place: &Place| {
        let node = place.object("v1", "Node", "node-0");
        node.until("told", |node| node["metadata"]["annotations"]["node.alpha.kubernetes.io/ttl"] == "0").await;
    });
}

#[test]
fn it_is_told_since_when_uses_of_token_secrets_are_known() {
    story("tracking", async |place: &Place| {
        let name = "kube-apiserver-legacy-service-account-token-tracking";
        let map = place.elsewhere("kube-system", "v1", "ConfigMap", name);
        let tells =
            |map: &Value| map["data"]["since"].as_str().is_some_and(|since| since.parse::<jiff::civil::Date>().is_ok());
        map.until("told", tells).await;
        map.merge(json!({"data": {"since": "long ago"}})).await;
        map.until("mended", tells).await;
    });
}
