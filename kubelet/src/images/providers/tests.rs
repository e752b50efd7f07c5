//! What programs are asked, how often, and for whom their answers hold.

use std::fs;

use component::testing::{FakeApi, write_program};
use serde_json::{Value, json};

use super::{accounts::TokenAttributes, *};

#[tokio::test]
async fn programs_are_asked_once_while_their_answer_holds() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join("login");
    let answer = r#"{"kind":"CredentialProviderResponse","apiVersion":"credentialprovider.kubelet.k8s.io/v1",
        "cacheKeyType":"Registry","auth":{"*.example":{"username":"u","password":"p"}}}"#;
    let script = format!("#!/bin/sh\necho asked >>{}/count\ncat <<'END'\n{answer}\nEND\n", folder.path().display());
    write_program(&program, &script);
    let configuration = folder.path().join("providers.yaml");
    let text = "apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders:\n\
                - {name: login, matchImages: ['*.example'], defaultCacheDuration: 10m, \
                apiVersion: credentialprovider.kubelet.k8s.io/v1}\n";
    fs::write(&configuration, text).expect("a file");
    let load = || {
        let tokens = Tokens::new(None, Clock::system());
        Providers::load(Some(&configuration), folder.path(), Logins::default(), tokens, Clock::system())
    };
    let providers = load().expect("providers");
    for image in ["registry.example/a:1", "registry.example/b:1"] {
        let found = providers.for_image(image, &Pod::default()).await;
        assert_eq!(found.iter().map(|it| it.auth.username.as_str()).collect::<Vec<_>>(), ["u"]);
    }
    assert!(providers.for_image("docker.io/library/nginx:1", &Pod::default()).await.is_empty());
    assert_eq!(fs::read_to_string(folder.path().join("count")).expect("a count"), "asked\n");
    fs::write(&configuration, text.replace("name: login", "name: missing")).expect("a file");
    assert!(load().is_err_and(|error| error.to_string().contains("no such program")));
}

#[test]
fn a_folder_of_files_is_one_configuration() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |file: &str, names: &[&str]| {
        let providers: Vec<_> = names.iter().map(|name| serde_json::json!({"name": name})).collect();
        let text = serde_json::json!({"apiVersion": API_VERSIONS[0], "kind": KIND, "providers": providers});
        fs::write(folder.path().join(file), text.to_string()).expect("a file");
    };
    let error = read(folder.path()).expect_err("there is nothing");
    assert!(error.to_string().ends_with("no configuration files found in directory"), "{error}");
    write("20.yml", &["c"]);
    write("10.yaml", &["a", "b"]);
    write("30.json", &["d"]);
    write("40.conf", &["e"]);
    let names = |found: Configuration| found.providers.into_iter().map(|it| it.name).collect::<Vec<_>>();
    assert_eq!(names(read(folder.path()).expect("files")), ["a", "b", "c", "d"]);
    write("30.json", &["a"]);
    let error = read(folder.path()).expect_err("one is there twice");
    assert_eq!(error.to_string(), "duplicate provider name \"a\" found in configuration file(s)");
}

/// A program `login` that notes what it is asked, and an API server with the ServiceAccounts `web` and `plain`.
struct Bed {
    folder: tempfile::TempDir,
    api: FakeApi,
}

const AUDIENCE: &str = "registry.example";

impl Bed {
    /// `password` is what the program answers, a shell's word.
    fn new(password: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (program, asked) = (folder.path().join("login"), folder.path().join("asked"));
        let script = format!(
            "#!/bin/sh\nread -r request\necho \"$request\" >>{}\n\
             echo '{{\"kind\":\"CredentialProviderResponse\",\"apiVersion\":\"credentialprovider.kubelet.k8s.io/v1\",'\
             '\"cacheKeyType\":\"Registry\",\"auth\":{{\"*.example\":{{\"username\":\"u\",\"password\":\"'{password}'\"}}}}}}'\n",
            asked.display()
        );
        write_program(&program, &script);
        let api = FakeApi::new();
        api.react(|request| {
            let of = |uid: &str, annotations: Value| {
                let metadata = json!({"name": request.name, "namespace": "ns", "uid": uid, "annotations": annotations});
                Some((200, json!({"kind": "ServiceAccount", "apiVersion": "v1", "metadata": metadata})))
            };
            match (request.resource.as_str(), request.subresource.as_str(), request.name.as_str()) {
                ("serviceaccounts", "", "web") => {
                    of("s", json!({"example/id": "7", "example/more": "m", "other": "x"}))
                }
                ("serviceaccounts", "", "plain") => of("t", json!({})),
                ("serviceaccounts", "token", _) => {
                    let body = request.body.clone();
                    assert_eq!(body["spec"]["audiences"], json!([AUDIENCE]));
                    assert_eq!(body["metadata"]["uid"], json!(if request.name == "web" { "s" } else { "t" }));
                    let pod = body["spec"]["boundObjectRef"]["uid"].as_str().unwrap_or_default().to_owned();
                    let status =
                        json!({"token": format!("token-of-{pod}"), "expirationTimestamp": "2999-01-01T00:00:00Z"});
                    Some((
                        201,
                        json!({"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "metadata": {},
                        "spec": {"audiences": []}, "status": status}),
                    ))
                }
                _ => None,
            }
        });
        Self { folder, api }
    }

    fn providers(&self, more: Value) -> Providers {
        let mut attributes = json!({"serviceAccountTokenAudience": AUDIENCE, "cacheType": "ServiceAccount",
            "requireServiceAccount": true});
        more.as_object().expect("fields").iter().for_each(|(key, value)| attributes[key] = value.clone());
        let provider = json!({"name": "login", "matchImages": ["*.example"], "defaultCacheDuration": "10m",
            "apiVersion": REQUEST_VERSIONS[0], "tokenAttributes": attributes});
        let file = self.folder.path().join("providers.json");
        let text = json!({"apiVersion": API_VERSIONS[0], "kind": KIND, "providers": [provider]});
        fs::write(&file, text.to_string()).expect("a file");
        let tokens = Tokens::new(Some(self.api.client()), Clock::system());
        Providers::load(Some(&file), self.folder.path(), Logins::default(), tokens, Clock::system()).expect("providers")
    }

    fn asked(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.folder.path().join("asked")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).expect("a request")).collect()
    }
}

fn pod(uid: &str, account: &str) -> Pod {
    let object = json!({"metadata": {"name": uid, "namespace": "ns", "uid": uid},
        "spec": {"serviceAccountName": account, "containers": []}});
    serde_json::from_value(object).expect("a pod")
}

#[tokio::test]
async fn programs_are_told_the_pods_account() {
    let bed = Bed::new("secret");
    let keys = json!({"requiredServiceAccountAnnotationKeys": ["example/id"],
        "optionalServiceAccountAnnotationKeys": ["example/more", "example/absent"]});
    let providers = bed.providers(keys);
    let source = |uid: &str, name: &str| {
        Source::Account(crate::images::access::PullAccount {
            namespace: "ns".into(),
            name: name.into(),
            uid: uid.into(),
        })
    };
    for uid in ["one", "two"] {
        let found = providers.for_image("registry.example/a:1", &pod(uid, "web")).await;
        let found: Vec<_> = found.into_iter().map(|it| (it.auth.password, it.source)).collect();
        assert_eq!(found, [("secret".to_owned(), source("s", "web"))]);
    }
    let wanted = json!({"kind": "CredentialProviderRequest", "apiVersion": REQUEST_VERSIONS[0],
        "image": "registry.example/a:1", "serviceAccountToken": "token-of-one",
        "serviceAccountAnnotations": {"example/id": "7", "example/more": "m"}});
    assert_eq!(bed.asked(), [wanted], "the answer is for the account");
    for pod in [pod("three", "plain"), pod("static", "")] {
        assert_eq!(providers.for_image("registry.example/a:1", &pod).await, [], "not for this pod");
    }
    assert_eq!(providers.for_image("registry.example/a:1", &pod("four", "absent")).await, []);
    assert_eq!(bed.asked().len(), 1);
    let providers = bed.providers(json!({"cacheType": "Token", "requireServiceAccount": false}));
    for (uid, account, asked) in
        [("one", "web", 2), ("one", "web", 2), ("two", "web", 3), ("three", "plain", 4), ("x", "", 5)]
    {
        assert_eq!(providers.for_image("registry.example/a:1", &pod(uid, account)).await.len(), 1);
        assert_eq!(bed.asked().len(), asked, "{uid} {account}");
    }
    let plain = json!({"kind": "CredentialProviderRequest", "apiVersion": REQUEST_VERSIONS[0], "image": "registry.example/a:1"});
    assert_eq!(bed.asked()[4], plain);
}

/// The token ends with the pod.
#[tokio::test]
async fn a_token_is_a_password_for_its_pod_only() {
    let bed = Bed::new("token-of-one");
    let by_account = bed.providers(json!({}));
    assert_eq!(by_account.for_image("registry.example/a:1", &pod("one", "web")).await, []);
    let by_token = bed.providers(json!({"cacheType": "Token"}));
    assert_eq!(by_token.for_image("registry.example/a:1", &pod("one", "web")).await.len(), 1);
}

#[test]
fn token_attributes_are_checked() {
    let check = |more: Value, version: usize| {
        let mut attributes =
            json!({"serviceAccountTokenAudience": AUDIENCE, "cacheType": "Token", "requireServiceAccount": true});
        more.as_object().expect("fields").iter().for_each(|(key, value)| attributes[key] = value.clone());
        let attributes: TokenAttributes = serde_json::from_value(attributes).expect("attributes");
        attributes.check(REQUEST_VERSIONS[version]).err().unwrap_or_default()
    };
    assert_eq!(check(json!({"requiredServiceAccountAnnotationKeys": ["a.example/B"]}), 0), "");
    for (more, version, wanted) in [
        (json!({}), 1, "tokenAttributes is only supported for credentialprovider.kubelet.k8s.io/v1 API version"),
        (json!({"serviceAccountTokenAudience": ""}), 0, "serviceAccountTokenAudience: Required value"),
        (json!({"requireServiceAccount": null}), 0, "requireServiceAccount: Required value"),
        (json!({"cacheType": ""}), 0, "cacheType is required to be set"),
        (json!({"cacheType": "Pod"}), 0, "Unsupported value: \"Pod\""),
        (
            json!({"requireServiceAccount": false, "requiredServiceAccountAnnotationKeys": ["a"]}),
            0,
            "requireServiceAccount cannot be false when requiredServiceAccountAnnotationKeys is set",
        ),
        (json!({"optionalServiceAccountAnnotationKeys": ["a", "a"]}), 0, "Duplicate value: \"a\""),
        (json!({"optionalServiceAccountAnnotationKeys": ["a b"]}), 0, "Invalid value: \"a b\""),
        (
            json!({"requiredServiceAccountAnnotationKeys": ["a"], "optionalServiceAccountAnnotationKeys": ["a"]}),
            0,
            "annotation keys cannot be both required and optional",
        ),
    ] {
        let found = check(more.clone(), version);
        assert!(found.contains(wanted), "{more}: {found}");
    }
}
