//! Objects as the text that came, so that listing and watching is one piece of code for all kinds.
//!
//! kube-rs's watcher is generic over its objects: a copy of it for each kind, in each component, was a twelfth of the
//! program. It is used for [`Text`] alone; only the last step, [`Text::decode`], knows the kind. It relies on
//! watch events that name their type before the object, as all API servers write them.

use std::borrow::Cow;

use kube::core::{ApiResource, DynamicResourceScope, ObjectMeta, Resource};
use serde::{Deserialize, Deserializer, de::DeserializeOwned, de::Error as _};
use serde_json::value::RawValue;

/// An object of any kind, not decoded but for its resource version.
#[derive(Clone, Debug)]
pub(super) struct Text {
    metadata: ObjectMeta,
    text: Box<RawValue>,
}

impl Text {
    pub(super) fn decode<K: DeserializeOwned>(&self) -> serde_json::Result<K> {
        serde_json::from_str(self.text.get())
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Head {
            metadata: Version,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Version {
            resource_version: Option<String>,
        }
        let text = Box::<RawValue>::deserialize(deserializer)?;
        let head: Head = serde_json::from_str(text.get()).map_err(D::Error::custom)?;
        let metadata = ObjectMeta { resource_version: head.metadata.resource_version, ..ObjectMeta::default() };
        Ok(Self { metadata, text })
    }
}

impl Resource for Text {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(kind: &ApiResource) -> Cow<'_, str> {
        kind.kind.as_str().into()
    }

    fn group(kind: &ApiResource) -> Cow<'_, str> {
        kind.group.as_str().into()
    }

    fn version(kind: &ApiResource) -> Cow<'_, str> {
        kind.version.as_str().into()
    }

    fn plural(kind: &ApiResource) -> Cow<'_, str> {
        kind.plural.as_str().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::core::{ObjectList, WatchEvent};

    use super::*;

    const OBJECT: &str = r#"{"metadata":{"name":"a","resourceVersion":"7"},"data":{"k":"v"}}"#;

    #[test]
    fn texts_are_read_from_lists_and_watches() {
        let list = format!(r#"{{"kind":"ConfigMapList","apiVersion":"v1","metadata":{{}},"items":[{OBJECT}]}}"#);
        let list: ObjectList<Text> = serde_json::from_str(&list).expect("a list");
        let event: WatchEvent<Text> =
            serde_json::from_str(&format!(r#"{{"type":"ADDED","object":{OBJECT}}}"#)).expect("an event");
        let WatchEvent::Added(added) = event else { panic!("not what was sent: {event:?}") };
        for text in [&list.items[0], &added] {
            assert_eq!(text.meta().resource_version.as_deref(), Some("7"));
            let object: ConfigMap = text.decode().expect("a ConfigMap");
            assert_eq!(object.data.expect("data")["k"], "v");
        }
    }
}
