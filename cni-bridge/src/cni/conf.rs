//! What every plugin's configuration has in common (specification, section 1).

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::request::is_identifier;
use super::{CniResult, Failure};

/// The keys that all plugins share.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Base {
    #[serde(rename = "cniVersion", deserialize_with = "nullable")]
    pub(crate) cni_version: String,
    #[serde(deserialize_with = "nullable")]
    pub(crate) name: String,
    #[serde(rename = "prevResult")]
    pub(crate) prev_result: Option<Value>,
    /// GC: the attachments that are still in use; everything else of this network may go.
    #[serde(rename = "cni.dev/valid-attachments")]
    pub(crate) valid_attachments: Option<Vec<Attachment>>,
}

/// One attachment of a container to a network, as GC lists them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Attachment {
    #[serde(rename = "containerID")]
    pub(crate) container_id: String,
    pub(crate) ifname: String,
}

impl Base {
    pub(crate) fn parse(stdin: &[u8]) -> Result<Base, Failure> {
        let base: Base = parse(stdin)?;
        if base.name.is_empty() {
            return Err(Failure::config("missing network name:"));
        }
        if !is_identifier(&base.name) {
            return Err(Failure::config(format!("invalid characters found in network name: {:?}", base.name)));
        }
        Ok(base)
    }

    /// The result of the plugin before this one in the chain, or of the ADD that a CHECK or DEL is about.
    pub(crate) fn prev_result(&self) -> Result<Option<CniResult>, Failure> {
        self.prev_result.as_ref().map(|value| CniResult::from_json(value, &self.cni_version)).transpose()
    }

    /// The attachments that GC must keep; the specification wants the key there, an empty list included.
    pub(crate) fn valid_attachments(&self) -> Result<&[Attachment], Failure> {
        self.valid_attachments.as_deref().ok_or_else(|| Failure::config("GC needs the key cni.dev/valid-attachments"))
    }
}

/// A configuration from stdin; what does not decode has code 6.
pub(crate) fn parse<T: DeserializeOwned>(stdin: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(stdin)
        .map_err(|error| Failure::decode(format!("error unmarshall network configuration: {error}")))
}

/// The version that an error object should carry, as far as it can be made out.
pub(crate) fn version_text(stdin: &[u8]) -> String {
    serde_json::from_slice::<Base>(stdin).map(|base| base.cni_version).unwrap_or_default()
}

/// `null` means the default, as in upstream's decoder.
pub(crate) fn nullable<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(input: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(input)?.unwrap_or_default())
}
