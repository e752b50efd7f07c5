//! Who may use an image that is here already: pods whose credentials it was pulled with, or everybody
//! (`KubeletEnsureSecretPulledImages`). Pure; [`super::records`] keeps what is known.

use std::collections::BTreeMap;

use k8s_cri::v1::AuthConfig;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::name;

/// A secret is only added to a record that has fewer than this, while its credentials merely fit.
const NOTED_WHILE_FITTING_MAX: usize = 100;

/// `imagePullCredentialsVerificationPolicy`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Policy {
    NeverVerify,
    /// Only what this kubelet pulled is asked for.
    #[default]
    NeverVerifyPreloadedImages,
    /// Names without tag and digest; what ends in `/*` stands for all below.
    NeverVerifyAllowlistedImages(Vec<String>),
    AlwaysVerify,
}

impl Policy {
    /// # Errors
    /// What is wrong with the two fields, in upstream's words.
    pub fn parse(policy: &str, allowed: &[String]) -> Result<Self, String> {
        let policy = match policy {
            "" | "NeverVerifyPreloadedImages" => Self::NeverVerifyPreloadedImages,
            "NeverVerify" => Self::NeverVerify,
            "AlwaysVerify" => Self::AlwaysVerify,
            "NeverVerifyAllowlistedImages" => Self::NeverVerifyAllowlistedImages(allowed.to_vec()),
            other => {
                return Err(format!(
                    "option {other:?} specified for imagePullCredentialsVerificationPolicy. Valid options are \
                     \"NeverVerify\", \"NeverVerifyPreloadedImages\", \"NeverVerifyAllowlistedImages\" or \"AlwaysVerify\""
                ));
            }
        };
        if !allowed.is_empty() && !matches!(policy, Self::NeverVerifyAllowlistedImages(_)) {
            return Err(
                "can't set `preloadedImagesVerificationAllowlist` if `imagePullCredentialsVertificationPolicy` is \
                        not \"NeverVerifyAllowlistedImages\""
                    .to_owned(),
            );
        }
        match allowed.iter().find_map(|pattern| pattern_problem(pattern)) {
            Some(problem) => Err(format!("invalid image pattern in `preloadedImagesVerificationAllowlist`: {problem}")),
            None => Ok(policy),
        }
    }

    fn asks(&self, image: &str, pulled_here: bool) -> bool {
        match self {
            Self::NeverVerify => false,
            Self::NeverVerifyPreloadedImages => pulled_here,
            Self::AlwaysVerify => true,
            Self::NeverVerifyAllowlistedImages(allowed) => {
                let image = name::without_tag(image);
                !allowed.iter().any(|pattern| match pattern.strip_suffix('*') {
                    Some(prefix) => image.starts_with(prefix),
                    None => image == pattern,
                })
            }
        }
    }
}

fn pattern_problem(pattern: &str) -> Option<String> {
    let plain = pattern.strip_suffix("/*").unwrap_or(pattern);
    if pattern.trim() != pattern {
        Some(format!("leading/trailing spaces are not allowed: {pattern}"))
    } else if pattern.is_empty() {
        Some(format!("the supplied pattern is too short: {pattern}"))
    } else if plain.contains('*') {
        Some(format!("not a valid wildcard pattern, only patterns ending with '/*' are allowed: {pattern}"))
    } else if plain.is_empty() {
        Some("at least registry hostname is required".to_owned())
    } else if plain == pattern && name::without_tag(pattern) != pattern {
        Some(format!("neither tag nor digest is accepted in an image reference: {pattern}"))
    } else {
        None
    }
}

/// Credentials for a pull, and where they are from.
#[derive(Debug, Clone, PartialEq)]
pub struct Credential {
    pub auth: AuthConfig,
    pub source: Source,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// Every pod of the node has them.
    Node,
    Secret(PullSecret),
    /// Pods with this ServiceAccount have them.
    Account(PullAccount),
}

/// A ServiceAccount by its place.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PullAccount {
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

/// A secret by its place, with the hash of what it held for the image.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PullSecret {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub credential_hash: String,
}

impl PullSecret {
    fn place(&self) -> (&str, &str, &str) {
        (&self.namespace, &self.name, &self.uid)
    }
}

/// As upstream hashes credentials: their JSON, empty fields left out.
pub(super) fn hash(auth: &AuthConfig) -> String {
    let fields = [
        ("username", &auth.username),
        ("password", &auth.password),
        ("auth", &auth.auth),
        ("serveraddress", &auth.server_address),
        ("identitytoken", &auth.identity_token),
        ("registrytoken", &auth.registry_token),
    ];
    let given = fields.into_iter().filter(|(_, value)| !value.is_empty());
    let text: Vec<String> = given.map(|(name, value)| format!("{name:?}:{}", serde_json::json!(value))).collect();
    Sha256::digest(format!("{{{}}}", text.join(","))).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Who may use an image under one of its names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Access {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kubernetes_secrets: Vec<PullSecret>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kubernetes_service_accounts: Vec<PullAccount>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub node_pods_accessible: bool,
}

impl Access {
    /// Of a pull with these credentials, or with none.
    pub(super) fn of(credential: Option<&Credential>) -> Self {
        match credential.map(|it| it.source.clone()) {
            None | Some(Source::Node) => Self { node_pods_accessible: true, ..Self::default() },
            Some(Source::Secret(secret)) => Self { kubernetes_secrets: vec![secret], ..Self::default() },
            Some(Source::Account(account)) => Self { kubernetes_service_accounts: vec![account], ..Self::default() },
        }
    }

    /// Adds what another pull has shown; false where it was known. What everybody may use is kept for no one.
    pub(super) fn add(&mut self, other: &Self) -> bool {
        let before = self.clone();
        if other.node_pods_accessible && !self.node_pods_accessible {
            *self = Self { node_pods_accessible: true, ..Self::default() };
        } else if !self.node_pods_accessible {
            for secret in &other.kubernetes_secrets {
                self.kubernetes_secrets.retain(|it| it.place() != secret.place());
                self.kubernetes_secrets.push(secret.clone());
            }
            self.kubernetes_secrets.sort();
            self.kubernetes_service_accounts.extend(other.kubernetes_service_accounts.iter().cloned());
            self.kubernetes_service_accounts.sort();
            self.kubernetes_service_accounts.dedup();
        }
        *self != before
    }
}

/// What is known of an image that is here.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Known {
    /// By name without tag and digest; None without a record.
    pub(super) record: Option<BTreeMap<String, Access>>,
    /// A pull of it was begun by this kubelet, or by one before it.
    pub(super) is_pulling: bool,
}

/// What a pod that wants an image that is here gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Judgement {
    /// It may use it.
    Use,
    /// It may use it by a secret that is to be noted: another than those known has the same credentials, or a known one
    /// has new ones.
    UseAndNote(PullSecret),
    /// It has to show by a pull that it may.
    Pull,
}

impl Known {
    /// Some pods may use the image by their ServiceAccount.
    pub(super) fn has_accounts(&self, image: &str) -> bool {
        let access = self.record.as_ref().and_then(|record| record.get(name::without_tag(image)));
        access.is_some_and(|access| !access.kubernetes_service_accounts.is_empty())
    }
}

/// Judges a pod by the secrets that it has for the image, and by its ServiceAccount where that has credentials for it.
pub(super) fn judge(
    policy: &Policy,
    image: &str,
    known: &Known,
    secrets: &[PullSecret],
    account: Option<&PullAccount>,
) -> Judgement {
    if !policy.asks(image, known.record.is_some() || known.is_pulling) {
        return Judgement::Use;
    }
    let access = known.record.as_ref().and_then(|record| record.get(name::without_tag(image)));
    let Some(access) = access else { return Judgement::Pull };
    if access.node_pods_accessible {
        return Judgement::Use;
    }
    for secret in secrets {
        for noted in &access.kubernetes_secrets {
            match (noted.credential_hash == secret.credential_hash, noted.place() == secret.place()) {
                (true, true) => return Judgement::Use,
                (false, false) => {}
                _ if access.kubernetes_secrets.len() < NOTED_WHILE_FITTING_MAX => {
                    return Judgement::UseAndNote(secret.clone());
                }
                (true, false) => return Judgement::Use,
                (false, true) => {}
            }
        }
    }
    if account.is_some_and(|account| access.kubernetes_service_accounts.contains(account)) {
        return Judgement::Use;
    }
    Judgement::Pull
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(name: &str, hash: &str) -> PullSecret {
        PullSecret { namespace: "ns".into(), name: name.into(), uid: "u".into(), credential_hash: hash.into() }
    }

    fn known(access: Option<Access>) -> Known {
        let record = access.map(|access| BTreeMap::from([("registry.example/a".to_owned(), access)]));
        Known { record, is_pulling: false }
    }

    #[test]
    fn an_image_is_used_by_whom_it_was_pulled_for() {
        let of = |secret: PullSecret| Access { kubernetes_secrets: vec![secret], ..Access::default() };
        let everybody = Access { node_pods_accessible: true, ..Access::default() };
        let (one, again, other) = (secret("one", "h"), secret("one", "new"), secret("other", "h"));
        let stranger = secret("stranger", "x");
        for (what, known, secrets, wanted) in [
            ("preloaded", known(None), vec![], Judgement::Use),
            ("begun before a crash", Known { is_pulling: true, ..Known::default() }, vec![], Judgement::Pull),
            ("open to all", known(Some(everybody)), vec![], Judgement::Use),
            ("nobody's", known(Some(Access::default())), vec![one.clone()], Judgement::Pull),
            ("no secret", known(Some(of(one.clone()))), vec![], Judgement::Pull),
            ("the same secret", known(Some(of(one.clone()))), vec![one.clone()], Judgement::Use),
            ("a new password", known(Some(of(one.clone()))), vec![again.clone()], Judgement::UseAndNote(again)),
            ("the same password", known(Some(of(one.clone()))), vec![other.clone()], Judgement::UseAndNote(other)),
            ("a stranger's", known(Some(of(one))), vec![stranger], Judgement::Pull),
        ] {
            let found = judge(&Policy::default(), "registry.example/a:1", &known, &secrets, None);
            assert_eq!(found, wanted, "{what}");
        }
    }

    #[test]
    fn an_account_may_use_what_was_pulled_for_it() {
        let account = |uid: &str| PullAccount { namespace: "ns".into(), name: "web".into(), uid: uid.into() };
        let credential = Credential { auth: AuthConfig::default(), source: Source::Account(account("u")) };
        let mut access = Access::of(Some(&credential));
        assert!(!access.node_pods_accessible);
        let record = known(Some(access.clone()));
        assert!(record.has_accounts("registry.example/a:1") && !record.has_accounts("registry.example/b:1"));
        for (whose, wanted) in
            [(Some(account("u")), Judgement::Use), (Some(account("other")), Judgement::Pull), (None, Judgement::Pull)]
        {
            let found = judge(&Policy::default(), "registry.example/a:1", &record, &[], whose.as_ref());
            assert_eq!(found, wanted, "{whose:?}");
        }
        assert!(!access.add(&Access::of(Some(&credential))), "known");
        let other = Credential { source: Source::Account(account("a")), ..credential };
        assert!(access.add(&Access::of(Some(&other))));
        assert_eq!(access.kubernetes_service_accounts, [account("a"), account("u")]);
        let text = serde_json::json!(access).to_string();
        let of = |uid: &str| format!(r#"{{"name":"web","namespace":"ns","uid":"{uid}"}}"#);
        assert_eq!(text, format!(r#"{{"kubernetesServiceAccounts":[{},{}]}}"#, of("a"), of("u")));
        assert!(access.add(&Access::of(None)) && access.kubernetes_service_accounts.is_empty(), "everybody's now");
    }

    #[test]
    fn policies_say_whom_to_ask() {
        let allowed = ["registry.example/team/*".to_owned(), "docker.io/library/nginx".to_owned()];
        let listed = Policy::parse("NeverVerifyAllowlistedImages", &allowed).expect("a policy");
        for (policy, image, pulled_here, asks) in [
            (&Policy::NeverVerify, "a", true, false),
            (&Policy::NeverVerifyPreloadedImages, "a", false, false),
            (&Policy::NeverVerifyPreloadedImages, "a", true, true),
            (&Policy::AlwaysVerify, "a", false, true),
            (&listed, "registry.example/team/a:1", true, false),
            (&listed, "docker.io/library/nginx:1@sha256:aa", true, false),
            (&listed, "docker.io/library/nginx2:1", false, true),
        ] {
            assert_eq!(policy.asks(image, pulled_here), asks, "{policy:?} {image}");
        }
        for (policy, allowed, wanted) in [
            ("Sometimes", vec![], "option \"Sometimes\" specified"),
            ("AlwaysVerify", vec!["a".to_owned()], "can't set `preloadedImagesVerificationAllowlist`"),
            ("NeverVerifyAllowlistedImages", vec!["a*".to_owned()], "not a valid wildcard pattern"),
            ("NeverVerifyAllowlistedImages", vec!["a:1".to_owned()], "neither tag nor digest"),
            ("NeverVerifyAllowlistedImages", vec!["/*".to_owned()], "at least registry hostname is required"),
        ] {
            let error = Policy::parse(policy, &allowed).expect_err(wanted);
            assert!(error.contains(wanted), "{error}");
        }
    }

    #[test]
    fn credentials_are_hashed_as_their_json() {
        let auth = AuthConfig { username: "u".into(), password: "p".into(), ..AuthConfig::default() };
        let wanted = Sha256::digest(r#"{"username":"u","password":"p"}"#);
        assert_eq!(hash(&auth), wanted.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    }
}
