//! `skiff token`: the tokens that machines join with, as kubeadm keeps them: Secrets in kube-system.
//!
//! Enter at [`token`]. [`secret`] and [`row`] are pure.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use component::bootstrap_token::{NAMESPACE, TYPE, Token, is_id};
use jiff::{Timestamp, ToSpan as _};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{DeleteParams, ListParams, ObjectMeta, PostParams};

use crate::addons::JOINERS;
use crate::layout::Layout;
use crate::pki::{self, Pin};
use crate::settings::Settings;
use crate::{block_on, cli, layout, node};

pub(crate) fn token(command: cli::Token) -> Result<()> {
    match command {
        cli::Token::Create(options) => create(&layout(options.data_dir.clone())?, &options),
        cli::Token::List(folder) => list(&layout(folder)?),
        cli::Token::Delete(options) => delete(&layout(options.data_dir.clone())?, &options.token),
    }
}

/// The cluster's settings; tokens are made where its authority is.
fn settings(layout: &Layout) -> Result<Settings> {
    let settings = Settings::load(layout)?;
    let settings = settings.with_context(|| format!("there is no cluster in {}", layout.root().display()))?;
    if let Some(joined) = &settings.joined {
        bail!("this machine joined the cluster at {}: tokens are made there", joined.server);
    }
    Ok(settings)
}

fn secrets(layout: &Layout) -> Result<Api<Secret>> {
    Ok(Api::namespaced(node::client_of(layout.admin_kubeconfig())?, NAMESPACE))
}

fn create(layout: &Layout, options: &cli::CreateToken) -> Result<()> {
    let settings = settings(layout)?;
    let token = options.token.clone().unwrap_or_else(Token::random);
    let secret = secret(&token, options.ttl, &options.description, Timestamp::now())?;
    block_on(async {
        let made = secrets(layout)?.create(&PostParams::default(), &secret).await;
        made.map(|_| ()).with_context(|| format!("make the token {}", token.id))
    })?;
    let authority = layout.certificate(pki::CA);
    let authority = std::fs::read_to_string(&authority).with_context(|| format!("read {}", authority.display()))?;
    let pin = Pin::of(&authority)?;
    println!("skiff join {} --token {token} --discovery-token-ca-cert-hash {pin}", settings.endpoint());
    Ok(())
}

fn list(layout: &Layout) -> Result<()> {
    settings(layout)?;
    let selected = ListParams::default().fields(&format!("type={TYPE}"));
    let list = block_on(async { secrets(layout)?.list(&selected).await.context("list the tokens") })?;
    let now = Timestamp::now();
    println!("{:<25} {:<10} {:<22} DESCRIPTION", "TOKEN", "TTL", "EXPIRES");
    for secret in list {
        println!("{}", row(&secret, now));
    }
    Ok(())
}

fn delete(layout: &Layout, token: &str) -> Result<()> {
    settings(layout)?;
    let id = token.split('.').next().unwrap_or_default();
    ensure!(is_id(id), "{token} is no token, nor the part before its dot");
    let name = format!("{}{id}", component::bootstrap_token::NAME_PREFIX);
    block_on(async {
        let deleted = secrets(layout)?.delete(&name, &DeleteParams::default()).await;
        deleted.map(|_| ()).with_context(|| format!("delete the token {id}"))
    })?;
    println!("Deleted {id}.");
    Ok(())
}

/// The Secret of a token that signs `cluster-info` and lets a machine join; `ttl` of zero is for ever.
fn secret(token: &Token, ttl: Duration, description: &str, now: Timestamp) -> Result<Secret> {
    let mut data: BTreeMap<String, String> = [
        ("token-id", token.id.as_str()),
        ("token-secret", &token.secret),
        ("usage-bootstrap-authentication", "true"),
        ("usage-bootstrap-signing", "true"),
        ("auth-extra-groups", JOINERS),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into();
    if !ttl.is_zero() {
        let seconds = i64::try_from(ttl.as_secs()).context("a time that fits")?;
        let end = now.checked_add(seconds.seconds()).context("a time that fits")?;
        data.insert("expiration".to_owned(), end.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    }
    if !description.is_empty() {
        data.insert("description".to_owned(), description.to_owned());
    }
    Ok(Secret {
        metadata: ObjectMeta { name: Some(token.secret_name()), ..ObjectMeta::default() },
        type_: Some(TYPE.to_owned()),
        string_data: Some(data),
        ..Secret::default()
    })
}

/// A line of the list.
fn row(secret: &Secret, now: Timestamp) -> String {
    let text = |key: &str| {
        let bytes = secret.data.as_ref().and_then(|data| data.get(key));
        bytes.map(|bytes| String::from_utf8_lossy(&bytes.0).into_owned()).unwrap_or_default()
    };
    let token = format!("{}.{}", text("token-id"), text("token-secret"));
    let (ttl, expires) = match text("expiration") {
        end if end.is_empty() => ("<forever>".to_owned(), "<never>".to_owned()),
        end => {
            let left = end.parse::<Timestamp>().map_or(0, |end| end.as_second() - now.as_second());
            (short(left), end)
        }
    };
    format!("{token:<25} {ttl:<10} {expires:<22} {}", text("description")).trim_end().to_owned()
}

/// The largest whole unit of a time, as in kubectl's columns.
fn short(seconds: i64) -> String {
    match seconds {
        ..=0 => "<expired>".to_owned(),
        1..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the API server makes of a Secret that is written with `stringData`.
    fn stored(mut secret: Secret) -> Secret {
        let data = secret.string_data.take().unwrap_or_default();
        secret.data =
            Some(data.into_iter().map(|(key, text)| (key, k8s_openapi::ByteString(text.into_bytes()))).collect());
        secret
    }

    #[test]
    fn a_token_is_kept_as_kubeadm_keeps_it() {
        let token: Token = "abcdef.0123456789abcdef".parse().unwrap();
        let made = secret(&token, Duration::from_secs(3600), "for tests", "2026-01-01T00:00:00.5Z".parse().unwrap());
        let made = made.unwrap();
        let data = [
            ("auth-extra-groups", "system:bootstrappers:kubeadm:default-node-token"),
            ("description", "for tests"),
            ("expiration", "2026-01-01T01:00:00Z"),
            ("token-id", "abcdef"),
            ("token-secret", "0123456789abcdef"),
            ("usage-bootstrap-authentication", "true"),
            ("usage-bootstrap-signing", "true"),
        ];
        assert_eq!(made.string_data, Some(data.map(|(key, text)| (key.to_owned(), text.to_owned())).into()));
        assert_eq!(made.type_.as_deref(), Some("bootstrap.kubernetes.io/token"));
        assert_eq!((made.metadata.name.as_deref(), NAMESPACE), (Some("bootstrap-token-abcdef"), "kube-system"));
        let forever = secret(&token, Duration::ZERO, "", Timestamp::UNIX_EPOCH).unwrap().string_data.unwrap();
        assert!(!forever.contains_key("expiration") && !forever.contains_key("description"));
    }

    #[test]
    fn tokens_are_listed_with_what_is_left_of_them() {
        let token: Token = "abcdef.0123456789abcdef".parse().unwrap();
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let shown = |ttl: u64, description: &str, seconds: i64| {
            let secret = stored(secret(&token, Duration::from_secs(ttl), description, now).unwrap());
            row(&secret, now + seconds.seconds()).split_whitespace().map(String::from).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(shown(86400, "", 60), "abcdef.0123456789abcdef 23h 2026-01-02T00:00:00Z");
        assert_eq!(shown(0, "for all", 60), "abcdef.0123456789abcdef <forever> <never> for all");
        assert_eq!(shown(90, "", 60), "abcdef.0123456789abcdef 30s 2026-01-01T00:01:30Z");
        assert_eq!(shown(90, "", 90), "abcdef.0123456789abcdef <expired> 2026-01-01T00:01:30Z");
    }
}
