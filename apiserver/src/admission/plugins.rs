//! Which plug-ins there are: upstream's names, in upstream's order, with what is on unless switched off.
//!
//! Enter at [`build`]. `--enable-admission-plugins` and `--disable-admission-plugins` choose; what [`ALWAYS`] holds is
//! no plug-in upstream (validation and strategies do it there) and cannot be chosen.

use std::path::Path;
use std::sync::Arc;

use component::flags::Values;

use super::configuration::Configuration;
use super::event_rate_limit::EventRateLimit;
use super::pod_node_selector::PodNodeSelector;
use super::pod_tolerations::PodTolerationRestriction;
use super::{
    Admission, Link, Operation, Plugin, Step, always, certificates, default_class, default_tolerations, limit_ranger,
    namespace_lifecycle, node_restriction, node_taint, opt_in, owner_references, pod_security, priority,
    resource_quota, runtime_class, service_account, storage, topology_labels,
};
use crate::metrics::admission::Series;

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

/// At which operations a plug-in has something to say, in which step.
#[derive(Clone, Copy)]
struct Runs {
    mutates: &'static [Operation],
    validates: &'static [Operation],
    /// The step that upstream's metrics tell it under, where it runs in another one here.
    told_as: Option<Step>,
}

const CREATE: &[Operation] = &[Operation::Create];
const UPDATE: &[Operation] = &[Operation::Update];
const DELETE: &[Operation] = &[Operation::Delete];
const WRITES: &[Operation] = &[Operation::Create, Operation::Update];
const CHANGES: &[Operation] = &[Operation::Create, Operation::Update, Operation::Delete];
const ALL: &[Operation] = &Operation::ALL;

const fn mutates(operations: &'static [Operation]) -> Runs {
    Runs { mutates: operations, validates: &[], told_as: None }
}

const fn validates(operations: &'static [Operation]) -> Runs {
    Runs { mutates: &[], validates: operations, told_as: None }
}

const fn both(operations: &'static [Operation]) -> Runs {
    Runs { mutates: operations, validates: operations, told_as: None }
}

/// One plug-in by name.
struct Entry {
    name: &'static str,
    by_default: bool,
    runs: Runs,
    make: Make,
}

macro_rules! on {
    ($name:literal, $runs:expr, $plugin:expr) => {
        Entry { name: $name, by_default: true, runs: $runs, make: Make::Plain(|_| Box::new($plugin)) }
    };
}

macro_rules! off {
    ($name:literal, $runs:expr, $plugin:expr) => {
        Entry { name: $name, by_default: false, runs: $runs, make: Make::Plain(|_| Box::new($plugin)) }
    };
}

const fn later(name: &'static str) -> Entry {
    Entry { name, by_default: false, runs: validates(&[]), make: Make::Later }
}

/// What upstream does when objects are admitted, and so before they are judged.
const EARLY: Runs = Runs { mutates: WRITES, validates: DELETE, told_as: Some(Step::Admit) };

/// Quota comes last: what a later plug-in refused must not have been charged.
static PLUGINS: &[Entry] = &[
    off!("AlwaysAdmit", both(ALL), opt_in::AlwaysAdmit),
    off!("NamespaceAutoProvision", mutates(CREATE), opt_in::NamespaceAutoProvision),
    on!("NamespaceLifecycle", EARLY, namespace_lifecycle::NamespaceLifecycle),
    off!("NamespaceExists", validates(CHANGES), opt_in::NamespaceExists),
    off!("LimitPodHardAntiAffinityTopology", validates(WRITES), opt_in::LimitPodHardAntiAffinityTopology),
    on!("LimitRanger", both(WRITES), limit_ranger::LimitRanger),
    on!("ServiceAccount", both(WRITES), service_account::ServiceAccount),
    off!("NodeRestriction", EARLY, node_restriction::NodeRestriction),
    on!("TaintNodesByCondition", mutates(CREATE), node_taint::TaintNodesByCondition),
    off!("AlwaysPullImages", both(WRITES), opt_in::AlwaysPullImages),
    later("ImagePolicyWebhook"),
    Entry {
        name: "PodSecurity",
        by_default: true,
        runs: validates(WRITES),
        make: Make::Configured(|configuration| Ok(Box::new(pod_security::PodSecurity::configured(configuration)?))),
    },
    Entry {
        name: "PodNodeSelector",
        by_default: false,
        runs: both(CREATE),
        make: Make::Configured(|configuration| Ok(Box::new(PodNodeSelector::configured(configuration)?))),
    },
    on!("Priority", both(CHANGES), priority::Priority),
    Entry {
        name: "DefaultTolerationSeconds",
        by_default: true,
        runs: mutates(WRITES),
        make: Make::Plain(|values| Box::new(default_tolerations::DefaultTolerationSeconds::from_flags(values))),
    },
    Entry {
        name: "PodTolerationRestriction",
        by_default: false,
        runs: both(WRITES),
        make: Make::Configured(|configuration| Ok(Box::new(PodTolerationRestriction::configured(configuration)?))),
    },
    Entry {
        name: "EventRateLimit",
        by_default: false,
        runs: validates(WRITES),
        make: Make::Configured(|configuration| Ok(Box::new(EventRateLimit::configured(configuration)?))),
    },
    off!("ExtendedResourceToleration", mutates(WRITES), opt_in::ExtendedResourceToleration),
    on!("DefaultStorageClass", mutates(CREATE), default_class::DefaultStorageClass),
    on!("StorageObjectInUseProtection", mutates(CREATE), storage::StorageObjectInUseProtection),
    later("PodGroupProtection"),
    off!(
        "OwnerReferencesPermissionEnforcement",
        validates(WRITES),
        owner_references::OwnerReferencesPermissionEnforcement
    ),
    on!("PersistentVolumeClaimResize", validates(UPDATE), storage::PersistentVolumeClaimResize),
    on!("RuntimeClass", both(CREATE), runtime_class::RuntimeClass),
    on!("CertificateApproval", validates(UPDATE), certificates::CertificateApproval),
    on!("CertificateSigning", validates(UPDATE), certificates::CertificateSigning),
    later("ClusterTrustBundleAttest"),
    on!("CertificateSubjectRestriction", validates(CREATE), certificates::CertificateSubjectRestriction),
    on!("DefaultIngressClass", mutates(CREATE), default_class::DefaultIngressClass),
    off!("DenyServiceExternalIPs", validates(WRITES), opt_in::DenyServiceExternalIPs),
    on!("PodTopologyLabels", mutates(CREATE), topology_labels::PodTopologyLabels),
    later("PodGroupWorkloadExists"),
    later("NodeDeclaredFeatureValidator"),
    later("JobValidation"),
    later("PodResizeValidator"),
    later("MutatingAdmissionPolicy"),
    later("MutatingAdmissionWebhook"),
    later("ValidatingAdmissionPolicy"),
    later("ValidatingAdmissionWebhook"),
    on!("ResourceQuota", validates(WRITES), resource_quota::ResourceQuota::default()),
    off!("AlwaysDeny", both(ALL), opt_in::AlwaysDeny),
];

/// Of those that are not built, the ones whose absence would let in what whoever names them means to keep out. The server
/// does not start with them.
const RESTRICTIONS: [&str; 1] = ["ImagePolicyWebhook"];

/// What runs whatever the flags say.
static ALWAYS: &[OfFlags] = &[|_| Box::new(always::Requestor)];

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
    let mut admission = Admission { allows_privileged: values.bool("allow-privileged"), ..Admission::default() };
    for make in ALWAYS {
        add(&mut admission, make(values), None, both(ALL));
    }
    for entry in PLUGINS {
        let is_named = |names: &[String]| names.iter().any(|name| name == entry.name);
        if !(entry.by_default || is_named(&enabled)) || is_named(&disabled) {
            continue;
        }
        let plugin = match entry.make {
            Make::Plain(make) => make(values),
            Make::Configured(make) => make(&configuration)?,
            Make::Later => {
                tracing::warn!(plugin = entry.name, "admission plug-in is not built yet and will not run");
                continue;
            }
        };
        add(&mut admission, plugin, Some(entry.name), entry.runs);
    }
    Ok(admission)
}

/// Puts a plug-in at the end of the chains that it is a link of.
fn add(admission: &mut Admission, plugin: Box<dyn Plugin>, name: Option<&'static str>, runs: Runs) {
    let plugin: Arc<dyn Plugin> = plugin.into();
    for (step, operations) in [(Step::Admit, runs.mutates), (Step::Validate, runs.validates)] {
        for operation in operations {
            let series = name.map(|name| Series::new(name, runs.told_as.unwrap_or(step), *operation));
            admission.chains[step as usize][*operation as usize].push(Link { plugin: plugin.clone(), series });
        }
    }
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
