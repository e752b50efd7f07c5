//! What pods look like as Go writes them, for messages that tell what changed: the fields of upstream's internal types, in
//! their order.
//!
//! Enter at [`spec_difference`] and [`container_difference`].

mod container;
mod placement;
mod volume;

pub use container::{PROFILE, SECURITY_CONTEXT as SECURITY_CONTEXT_OF_CONTAINER};
use machinery::meta;
pub use placement::{NODE_SELECTOR, NODE_TERM, NODE_TERMS};
use serde_json::{Map, Value};

use crate::kinds::go_form::{self, FLAG, Form, LABEL_SELECTOR, METADATA, POINTER, TEXT};

type Fields = &'static [(&'static str, Form)];

/// The fields that are the spec's in JSON and the security context's inside.
const OF_HOST: [&str; 5] = ["hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace", "hostUsers"];

pub fn spec(spec: &Value) -> String {
    go_form::write(&internal(spec), &SPEC)
}

pub fn template(template: &Value) -> String {
    const TEMPLATE: Form = Form::Struct(&[("metadata", METADATA), ("spec", SPEC)]);
    let mut flat = go_form::with_metadata(template);
    flat["spec"] = internal(&template["spec"]);
    go_form::write(&flat, &TEMPLATE)
}

pub fn spec_difference(old: &Value, new: &Value) -> String {
    go_form::difference(&internal(old), &internal(new), &SPEC)
}

/// Of ephemeral containers.
pub fn container_difference(old: &Value, new: &Value) -> String {
    go_form::difference(old, new, &container::EPHEMERAL)
}

/// A spec as upstream holds it: there is always a security context, and claims of volumes have no metadata of their own.
fn internal(spec: &Value) -> Value {
    let mut spec = spec.clone();
    let of_host: Map<String, Value> = OF_HOST.iter().map(|name| ((*name).to_owned(), spec[*name].clone())).collect();
    meta::object_mut(&mut spec, "securityContext").extend(of_host);
    for volume in spec.get_mut("volumes").and_then(Value::as_array_mut).into_iter().flatten() {
        let template = volume.pointer_mut("/ephemeral/volumeClaimTemplate").and_then(Value::as_object_mut);
        let Some(template) = template else { continue };
        if let Some(Value::Object(metadata)) = template.remove("metadata") {
            template.extend(metadata);
        }
    }
    spec
}

const REFERENCE: Form = Form::Struct(&[("name", TEXT)]);
const NAMES: Form = Form::List(&REFERENCE);
const RESOURCES: Fields = &[
    ("limits", POINTER),
    ("requests", POINTER),
    ("claims", Form::List(&Form::Struct(&[("name", TEXT), ("request", TEXT)]))),
];

const SPEC: Form = Form::Struct(&[
    ("volumes", Form::List(&volume::VOLUME)),
    ("initContainers", Form::List(&container::CONTAINER)),
    ("containers", Form::List(&container::CONTAINER)),
    ("ephemeralContainers", Form::List(&container::EPHEMERAL)),
    ("restartPolicy", TEXT),
    ("terminationGracePeriodSeconds", POINTER),
    ("activeDeadlineSeconds", POINTER),
    ("dnsPolicy", Form::As("DNSPolicy", &TEXT)),
    ("nodeSelector", POINTER),
    ("serviceAccountName", TEXT),
    ("automountServiceAccountToken", POINTER),
    ("nodeName", TEXT),
    ("securityContext", SECURITY_CONTEXT),
    ("imagePullSecrets", NAMES),
    ("hostname", TEXT),
    ("subdomain", TEXT),
    ("setHostnameAsFQDN", POINTER),
    ("affinity", placement::AFFINITY),
    ("schedulerName", TEXT),
    ("tolerations", Form::List(&placement::TOLERATION)),
    ("hostAliases", Form::List(&HOST_ALIAS)),
    ("priorityClassName", TEXT),
    ("priority", POINTER),
    ("preemptionPolicy", POINTER),
    ("dnsConfig", Form::As("DNSConfig", &DNS_CONFIG)),
    ("readinessGates", Form::List(&Form::Struct(&[("conditionType", TEXT)]))),
    ("runtimeClassName", POINTER),
    ("overhead", POINTER),
    ("enableServiceLinks", POINTER),
    ("topologySpreadConstraints", Form::List(&placement::SPREAD)),
    ("os", Form::As("OS", &REFERENCE)),
    ("schedulingGates", NAMES),
    ("resourceClaims", Form::List(&RESOURCE_CLAIM)),
    ("resources", Form::Struct(RESOURCES)),
    ("hostnameOverride", POINTER),
    ("schedulingGroup", Form::Struct(&[("podGroupName", POINTER)])),
]);

const SECURITY_CONTEXT: Form = Form::Struct(&[
    ("hostNetwork", FLAG),
    ("hostPID", FLAG),
    ("hostIPC", FLAG),
    ("shareProcessNamespace", POINTER),
    ("hostUsers", POINTER),
    ("seLinuxOptions", Form::As("SELinuxOptions", &container::SE_LINUX)),
    ("windowsOptions", container::WINDOWS),
    ("runAsUser", POINTER),
    ("runAsGroup", POINTER),
    ("runAsNonRoot", POINTER),
    ("supplementalGroups", POINTER),
    ("supplementalGroupsPolicy", POINTER),
    ("fsGroup", Form::As("FSGroup", &POINTER)),
    ("fsGroupChangePolicy", Form::As("FSGroupChangePolicy", &POINTER)),
    ("sysctls", Form::List(&Form::Struct(&[("name", TEXT), ("value", TEXT)]))),
    ("seccompProfile", container::PROFILE),
    ("appArmorProfile", container::PROFILE),
    ("seLinuxChangePolicy", Form::As("SELinuxChangePolicy", &POINTER)),
]);
const HOST_ALIAS: Form = Form::Struct(&[("ip", Form::As("IP", &TEXT)), ("hostnames", POINTER)]);
const DNS_CONFIG: Form = Form::Struct(&[
    ("nameservers", POINTER),
    ("searches", POINTER),
    ("options", Form::List(&Form::Struct(&[("name", TEXT), ("value", POINTER)]))),
]);
pub const RESOURCE_CLAIM: Form =
    Form::Struct(&[("name", TEXT), ("resourceClaimName", POINTER), ("resourceClaimTemplateName", POINTER)]);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_changed_is_shown_with_its_surroundings() {
        let spec = |host: bool, subdomain: &str| json!({"containers": [], "hostNetwork": host, "subdomain": subdomain});
        let told = spec_difference(&spec(true, ""), &spec(true, "b"));
        let expected = "@@ -33,7 +33,7 @@\n  },\n  \"ImagePullSecrets\": null,\n  \"Hostname\": \"\",\n- \"Subdomain\": \"\",\n+ \"Subdomain\": \"b\",\n  \"SetHostnameAsFQDN\": null,\n  \"Affinity\": null,\n  \"SchedulerName\": \"\",\n";
        assert_eq!(told, expected);
        assert!(
            spec_difference(&spec(true, ""), &spec(false, ""))
                .contains("-  \"HostNetwork\": true,\n+  \"HostNetwork\": false,\n")
        );
    }
}
