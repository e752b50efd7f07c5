//! The file's `extenders`: checked, and what they ignore told to the profiles.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use component::client::{Endpoint, Identity, Pem};
use machinery::names;
use serde::{Deserialize, Serialize};

use crate::extender::{Concern, Extender, Verbs};
use crate::objects::is_extended;

const TIMEOUT_DEFAULT: std::time::Duration = std::time::Duration::from_secs(5);

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RawExtender {
    pub url_prefix: String,
    pub filter_verb: String,
    pub preempt_verb: String,
    pub prioritize_verb: String,
    pub weight: i64,
    pub bind_verb: String,
    #[serde(rename = "enableHTTPS")]
    pub enable_https: bool,
    pub tls_config: Option<RawTls>,
    pub http_timeout: Option<String>,
    pub node_cache_capable: bool,
    pub managed_resources: Vec<RawManaged>,
    pub ignorable: bool,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RawManaged {
    pub name: String,
    pub ignored_by_scheduler: bool,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RawTls {
    pub insecure: bool,
    pub server_name: String,
    pub cert_file: String,
    pub key_file: String,
    pub ca_file: String,
    /// In base64, as are the other two.
    pub cert_data: String,
    pub key_data: String,
    pub ca_data: String,
}

/// All extenders, those that may fail last; and the resources that the scheduler itself is not to count.
pub fn extenders(raw: &[RawExtender]) -> Result<(Vec<Extender>, Vec<String>), String> {
    check(raw)?;
    let mut made = Vec::new();
    for (index, raw) in raw.iter().enumerate() {
        made.push(extender(raw).map_err(|problem| format!("extenders[{index}]: {problem}"))?);
    }
    made.sort_by_key(|extender: &Extender| extender.ignorable);
    let managed = raw.iter().flat_map(|raw| &raw.managed_resources);
    let ignored = managed.filter(|managed| managed.ignored_by_scheduler).map(|managed| managed.name.clone()).collect();
    Ok((made, ignored))
}

fn check(raw: &[RawExtender]) -> Result<(), String> {
    let mut seen: Vec<&str> = Vec::new();
    for (index, extender) in raw.iter().enumerate() {
        let path = format!("extenders[{index}]");
        if !extender.prioritize_verb.is_empty() && extender.weight <= 0 {
            let why = "must have a positive weight applied to it";
            return Err(format!("{path}.weight: Invalid value: {}: {why}", extender.weight));
        }
        for (index, managed) in extender.managed_resources.iter().enumerate() {
            let invalid =
                |why: &str| format!("{path}.managedResources[{index}].name: Invalid value: {:?}: {why}", managed.name);
            if let Some(why) = names::qualified_name(&managed.name).first() {
                return Err(invalid(why));
            }
            if !is_extended(&managed.name) {
                return Err(invalid("is an invalid extended resource name"));
            }
            if seen.contains(&managed.name.as_str()) {
                return Err(invalid("duplicate extender managed resource name"));
            }
            seen.push(&managed.name);
        }
    }
    match raw.iter().filter(|extender| !extender.bind_verb.is_empty()).count() {
        0 | 1 => Ok(()),
        many => Err(format!(
            "extenders: Invalid value: \"found {many} extenders implementing bind\": only one extender can implement bind"
        )),
    }
}

fn extender(raw: &RawExtender) -> Result<Extender, String> {
    let verb = |verb: &str| Some(verb.to_owned()).filter(|verb| !verb.is_empty());
    let timeout = raw.http_timeout.as_deref().map(component::flags::parse_duration).transpose()?;
    Ok(Extender {
        endpoint: endpoint(raw)?,
        verbs: Verbs {
            filter: verb(&raw.filter_verb),
            prioritize: verb(&raw.prioritize_verb),
            preempt: verb(&raw.preempt_verb),
            bind: verb(&raw.bind_verb),
        },
        weight: raw.weight,
        timeout: timeout.filter(|timeout| !timeout.is_zero()).unwrap_or(TIMEOUT_DEFAULT),
        node_cache_capable: raw.node_cache_capable,
        ignorable: raw.ignorable,
        concern: Concern::new(raw.managed_resources.iter().map(|managed| managed.name.as_str())),
    })
}

fn endpoint(raw: &RawExtender) -> Result<Endpoint, String> {
    let tls = raw.tls_config.clone().unwrap_or_default();
    let pem = |data: &str, file: &str| -> Result<Option<Pem>, String> {
        Ok(match (data, file) {
            ("", "") => None,
            ("", file) => Some(Pem::File(file.into())),
            (data, _) => Some(Pem::Inline(STANDARD.decode(data).map_err(|e| format!("tlsConfig: {e}"))?)),
        })
    };
    let authority = pem(&tls.ca_data, &tls.ca_file)?;
    let certificate = match (pem(&tls.cert_data, &tls.cert_file)?, pem(&tls.key_data, &tls.key_file)?) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => return Err("tlsConfig: a certificate needs its key, and a key its certificate".to_owned()),
    };
    Ok(Endpoint {
        server: raw.url_prefix.clone(),
        // Upstream trusts anybody when it is told to use TLS and not whom to trust.
        insecure_skip_tls_verify: tls.insecure || (raw.enable_https && authority.is_none()),
        authority,
        tls_server_name: Some(tls.server_name).filter(|name| !name.is_empty()),
        namespace: None,
        identity: Identity { certificate, ..Identity::default() },
    })
}
