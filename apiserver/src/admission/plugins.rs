//! Which plug-ins there are: upstream's names, in upstream's order, with what is on unless switched off.
//!
//! Enter at [`build`]. `--enable-admission-plugins` and `--disable-admission-plugins` choose; what [`ALWAYS`] holds is
//! no plug-in upstream (validation and strategies do it there) and cannot be chosen.

use std::path::Path;

use component::flags::Values;

use super::configuration::Configuration;
use super::event_rate_limit::EventRateLimit;
use super::pod_node_selector::PodNodeSelector;
use super::pod_tolerations::PodTolerationRestriction;
use super::{
    Admission, Plugin, always, certificates, default_class, default_tolerations, limit_ranger, namespace_lifecycle,
    node_restriction, node_taint, opt_in, owner_references, pod_security, priority, resource_quota, runtime_class,
    service_account, storage, topology_labels,
};

/// Makes a plug-in of the server's flags.
type OfFlags = fn(&Values) -> Box<dyn Plugin>;

/// How a plug-in is made.
enum Make {
    Plain(OfFlags),
    /// Of its part of `--admission-control-config-file`.
    Configured(fn(&Configuration) -> Result<Box<dyn Plugin>, String>),
    /// It is not built.
    Later,
}

/// One plug-in by name.
struct Entry {
    name: &'static str,
    by_default: bool,
    make: Make,
}

macro_rules! on {
    ($name:literal, $plugin:expr) => {
        Entry { name: $name, by_default: true, make: Make::Plain(|_| Box::new($plugin)) }
    };
}

macro_rules! off {
    ($name:literal, $plugin:expr) => {
        Entry { name: $name, by_default: false, make: Make::Plain(|_| Box::new($plugin)) }
    };
}

const fn later(name: &'static str) -> Entry {
    Entry { name, by_default: false, make: Make::Later }
}

/// Quota comes last: what a later plug-in refused must not have been charged.
static PLUGINS: &[Entry] = &[
    off!("AlwaysAdmit", opt_in::AlwaysAdmit),
    off!("NamespaceAutoProvision", opt_in::NamespaceAutoProvision),
    on!("NamespaceLifecycle", namespace_lifecycle::NamespaceLifecycle),
    off!("NamespaceExists", opt_in::NamespaceExists),
    off!("LimitPodHardAntiAffinityTopology", opt_in::LimitPodHardAntiAffinityTopology),
    on!("LimitRanger", limit_ranger::LimitRanger),
    on!("ServiceAccount", service_account::ServiceAccount),
    off!("NodeRestriction", node_restriction::NodeRestriction),
    on!("TaintNodesByCondition", node_taint::TaintNodesByCondition),
    off!("AlwaysPullImages", opt_in::AlwaysPullImages),
    later("ImagePolicyWebhook"),
    Entry {
        name: "PodSecurity",
        by_default: true,
        make: Make::Configured(|configuration| Ok(Box::new(pod_security::PodSecurity::configured(configuration)?))),
    },
    Entry {
        name: "PodNodeSelector",
        by_default: false,
        make: Make::Configured(|configuration| Ok(Box::new(PodNodeSelector::configured(configuration)?))),
    },
    on!("Priority", priority::Priority),
    Entry {
        name: "DefaultTolerationSeconds",
        by_default: true,
        make: Make::Plain(|values| Box::new(default_tolerations::DefaultTolerationSeconds::from_flags(values))),
    },
    Entry {
        name: "PodTolerationRestriction",
        by_default: false,
        make: Make::Configured(|configuration| Ok(Box::new(PodTolerationRestriction::configured(configuration)?))),
    },
    Entry {
        name: "EventRateLimit",
        by_default: false,
        make: Make::Configured(|configuration| Ok(Box::new(EventRateLimit::configured(configuration)?))),
    },
    off!("ExtendedResourceToleration", opt_in::ExtendedResourceToleration),
    on!("DefaultStorageClass", default_class::DefaultStorageClass),
    on!("StorageObjectInUseProtection", storage::StorageObjectInUseProtection),
    later("PodGroupProtection"),
    off!("OwnerReferencesPermissionEnforcement", owner_references::OwnerReferencesPermissionEnforcement),
    on!("PersistentVolumeClaimResize", storage::PersistentVolumeClaimResize),
    on!("RuntimeClass", runtime_class::RuntimeClass),
    on!("CertificateApproval", certificates::CertificateApproval),
    on!("CertificateSigning", certificates::CertificateSigning),
    later("ClusterTrustBundleAttest"),
    on!("CertificateSubjectRestriction", certificates::CertificateSubjectRestriction),
    on!("DefaultIngressClass", default_class::DefaultIngressClass),
    off!("DenyServiceExternalIPs", opt_in::DenyServiceExternalIPs),
    on!("PodTopologyLabels", topology_labels::PodTopologyLabels),
    later("PodGroupWorkloadExists"),
    later("NodeDeclaredFeatureValidator"),
    later("JobValidation"),
    later("PodResizeValidator"),
    later("MutatingAdmissionPolicy"),
    later("MutatingAdmissionWebhook"),
    later("ValidatingAdmissionPolicy"),
    later("ValidatingAdmissionWebhook"),
    on!("ResourceQuota", resource_quota::ResourceQuota::default()),
    off!("AlwaysDeny", opt_in::AlwaysDeny),
];

/// Of those that are not built, the ones whose absence would let in what whoever names them means to keep out. The server
/// does not start with them.
const RESTRICTIONS: [&str; 1] = ["ImagePolicyWebhook"];

/// What runs whatever the flags say.
static ALWAYS: &[OfFlags] =
    &[|_| Box::new(always::Requestor), |values| Box::new(always::Privileged::from_flags(values))];

/// The chain that the two flags choose. Every mistake in them, in upstream's words.
pub fn check(enabled: &[String], disabled: &[String]) -> Vec<String> {
    let mut wrong = Vec::new();
    let unknown = |names: &[String]| -> Vec<String> {
        names.iter().filter(|name| PLUGINS.iter().all(|entry| entry.name != **name)).cloned().collect()
    };
    for (flag, names) in [("enable-admission-plugins", enabled), ("disable-admission-plugins", disabled)] {
        wrong.extend(unknown(names).into_iter().map(|name| format!("{flag} plugin {name:?} is unknown")));
    }
    let dangerous = enabled.iter().filter(|name| RESTRICTIONS.contains(&name.as_str()) && !disabled.contains(name));
    wrong.extend(dangerous.map(|name| {
        format!("enable-admission-plugins plugin {name:?} cannot be honoured by this server: it is not built")
    }));
    let both: Vec<&str> = enabled.iter().filter(|name| disabled.contains(name)).map(String::as_str).collect();
    if !both.is_empty() {
        wrong
            .push(format!("[{}] in enable-admission-plugins and disable-admission-plugins overlapped", both.join(" ")));
    }
    wrong
}

/// The chain that the flags choose, with what its configuration says. The error is all that is wrong with that.
pub fn build(values: &Values) -> Result<Admission, String> {
    let configuration = match values.opt_str("admission-control-config-file") {
        Some(path) => Configuration::load(Path::new(path))?,
        None => Configuration::default(),
    };
    let takes_one =
        |name: &str| PLUGINS.iter().any(|entry| entry.name == name && matches!(entry.make, Make::Configured(_)));
    if let Some(name) = configuration.names().find(|name| !takes_one(name)) {
        return Err(format!("--admission-control-config-file: admission plugin {name:?} takes no configuration here"));
    }
    let (enabled, disabled) = (values.strings("enable-admission-plugins"), values.strings("disable-admission-plugins"));
    let mut plugins: Vec<Box<dyn Plugin>> = ALWAYS.iter().map(|make| make(values)).collect();
    for entry in PLUGINS {
        let is_named = |names: &[String]| names.iter().any(|name| name == entry.name);
        if !(entry.by_default || is_named(&enabled)) || is_named(&disabled) {
            continue;
        }
        match entry.make {
            Make::Plain(make) => plugins.push(make(values)),
            Make::Configured(make) => plugins.push(make(&configuration)?),
            Make::Later => tracing::warn!(plugin = entry.name, "admission plug-in is not built yet and will not run"),
        }
    }
    Ok(Admission { plugins })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_told_in_upstreams_words() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert!(check(&names(&["NodeRestriction"]), &names(&["PodSecurity"])).is_empty());
        assert_eq!(
            check(&names(&["Nothing", "Priority"]), &names(&["Priority"])),
            [
                "enable-admission-plugins plugin \"Nothing\" is unknown",
                "[Priority] in enable-admission-plugins and disable-admission-plugins overlapped"
            ]
        );
    }

    #[test]
    fn restrictions_that_would_not_hold_are_refused() {
        for name in RESTRICTIONS {
            assert!(PLUGINS.iter().any(|entry| entry.name == name && matches!(entry.make, Make::Later)), "{name}");
            assert_eq!(
                check(&[name.to_owned()], &[]),
                [format!(
                    "enable-admission-plugins plugin {name:?} cannot be honoured by this server: it is not built"
                )]
            );
        }
    }

    #[test]
    fn each_stands_once() {
        for (position, entry) in PLUGINS.iter().enumerate() {
            assert!(PLUGINS[..position].iter().all(|other| other.name != entry.name), "{} stands twice", entry.name);
        }
    }
}
