//! What flags may ask for that is not built here and would matter: who gets in, who may do what, what can be read on the
//! disk. Such a server does not start, for one that is more open, or more closed, than its flags say is worse.
//!
//! Enter at [`check`].

use component::flags::Values;
use serde_json::Value;

/// Flags, and what is missing.
const REFUSED: [(&str, &str); 7] = [
    ("authentication-config", "authenticators are set by flags only, and tokens of others are not taken"),
    ("authentication-token-webhook-config-file", "nobody else is asked about tokens"),
    ("oidc-issuer-url", "tokens of an OpenID server are not taken"),
    ("authorization-config", "authorizers are set by --authorization-mode only"),
    ("authorization-policy-file", "mode ABAC is not built"),
    ("authorization-webhook-config-file", "mode Webhook is not built"),
    ("service-account-signing-endpoint", "tokens are signed with --service-account-signing-key-file only"),
];

/// Adds to `wrong` what this server cannot do of what its flags ask for.
pub fn check(values: &Values, wrong: &mut Vec<String>) {
    for (flag, why) in REFUSED {
        if values.opt_str(flag).is_some() {
            wrong.push(format!("--{flag} cannot be honoured by this server: {why}"));
        }
    }
    if let Some(path) = values.opt_str("encryption-provider-config") {
        wrong.extend(check_encryption(path).err());
    }
}

/// A configuration that encrypts nothing is honoured.
fn check_encryption(path: &str) -> Result<(), String> {
    let flag = "--encryption-provider-config";
    let text = std::fs::read(path).map_err(|error| format!("{flag}: reading {path}: {error}"))?;
    let config: Value = serde_yaml_ng::from_slice(&text).map_err(|error| format!("{flag}: {path}: {error}"))?;
    if config["kind"] != "EncryptionConfiguration" {
        return Err(format!("{flag}: {path} holds no EncryptionConfiguration"));
    }
    let rules = config["resources"].as_array().into_iter().flatten();
    let mut providers = rules.flat_map(|rule| rule["providers"].as_array().into_iter().flatten());
    let encrypts =
        |provider: &&Value| provider.as_object().is_none_or(|fields| fields.keys().any(|name| name != "identity"));
    match providers.find(encrypts) {
        None => Ok(()),
        Some(provider) => {
            let name = provider.as_object().and_then(|fields| fields.keys().next()).map_or("?", String::as_str);
            Err(format!(
                "{flag}: {path} names the provider {name}, but this server stores and reads plain objects only: what is to be secret would be readable in the store. Use identity, and encrypt the disk under the store"
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(flags: &[&str]) -> Vec<String> {
        let values = crate::flags().parse(flags.iter().copied()).expect("flags of the table");
        let mut wrong = Vec::new();
        check(&values, &mut wrong);
        wrong
    }

    #[test]
    fn what_would_open_or_close_the_server_is_refused_by_name() {
        assert!(told(&[]).is_empty());
        for (flag, _) in REFUSED {
            let wrong = told(&[&format!("--{flag}=x")]);
            assert!(
                matches!(&wrong[..], [one] if one.starts_with(&format!("--{flag} cannot be honoured"))),
                "{wrong:?}"
            );
        }
    }

    #[test]
    fn secrets_are_not_stored_plain_where_that_was_not_asked_for() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let with = |providers: &str| {
            let text = format!(
                "{{kind: EncryptionConfiguration, resources: [{{resources: [secrets], providers: {providers}}}]}}"
            );
            std::fs::write(file.path(), text).unwrap();
            told(&[&format!("--encryption-provider-config={}", file.path().display())])
        };
        assert_eq!(with("[{identity: {}}]"), [""; 0]);
        let key = "{aescbc: {keys: [{name: a, secret: b}]}}";
        assert!(with(&format!("[{key}, {{identity: {{}}}}]"))[0].contains("names the provider aescbc"));
        assert_eq!(with(&format!("[{{identity: {{}}}}, {key}]")).len(), 1, "what is encrypted could not be read");
        assert_eq!(told(&["--encryption-provider-config=/nowhere"]).len(), 1);
    }
}
