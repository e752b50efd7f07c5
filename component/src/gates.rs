//! `--feature-gates`: which of upstream's features there are in v1.36, and what asking for one comes to.
//!
//! Enter at [`check`] where behaviour is that of upstream's defaults: what asks for that is taken, what asks for else is told
//! by name. A component that differs from them asks [`parse`] and [`known`], and says itself what it has. [`tell`] shows in
//! the metrics what is on.

mod table;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use prometheus::IntGaugeVec;

use crate::metrics;

/// A feature of upstream's, as it is by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    pub name: &'static str,
    /// As upstream writes it in its metrics: `ALPHA`, `BETA`, `DEPRECATED`, or empty for what is there for good.
    pub stage: &'static str,
    pub is_on: bool,
    /// Nobody can switch it any more.
    pub is_locked: bool,
}

/// Every feature.
pub fn all() -> impl Iterator<Item = Feature> {
    table::ALL.iter().copied()
}

/// The feature of that name; the error is upstream's where there is none.
pub fn known(name: &str) -> Result<Feature, String> {
    let found = table::ALL.binary_search_by(|feature| feature.name.cmp(name));
    found.map(|at| table::ALL[at]).map_err(|_| format!("unrecognized feature gate: {name}"))
}

/// What of the flag's value changes nothing, each in a sentence. The error is upstream's: names that nobody knows, and
/// features that cannot be switched any more.
pub fn check(gates: &BTreeMap<String, String>) -> Result<Vec<String>, String> {
    let mut idle = Vec::new();
    for (name, wanted) in parse(gates)? {
        // The flag takes the component before the name, too.
        let name = name.strip_prefix("kube:").unwrap_or(&name);
        let Feature { is_on, is_locked, .. } = known(name)?;
        if wanted == is_on {
            continue;
        }
        if is_locked {
            return Err(format!("cannot set feature gate {name} to {wanted}, feature is locked to {is_on}"));
        }
        let state = if is_on { "on" } else { "off" };
        idle.push(format!("--feature-gates: {name} cannot be switched here; it stays {state}, as upstream's default"));
    }
    Ok(idle)
}

/// The flag's value: what is wanted of each gate.
pub fn parse(gates: &BTreeMap<String, String>) -> Result<BTreeMap<String, bool>, String> {
    let one = |(name, text): (&String, &String)| match crate::flags::parse_bool(text) {
        Ok(wanted) => Ok((name.clone(), wanted)),
        Err(_) => Err(format!("invalid value of {name}={text}, err: not a bool")),
    };
    gates.iter().map(one).collect()
}

static ENABLED: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let help = "This metric records the data about the stage and enablement of a k8s feature.";
    metrics::int_gauge("kubernetes_feature_enabled", help, &["name", "stage"])
});

/// Tells in the metrics which features are on: those by default, but for what `switched` says.
pub fn tell(switched: &BTreeMap<&str, bool>) {
    for Feature { name, stage, is_on, .. } in all() {
        let is_on = switched.get(name).copied().unwrap_or(is_on);
        ENABLED.with_label_values(&[name, stage]).set(i64::from(is_on));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_asking_for_a_feature_comes_to() {
        let told = |text: &str| {
            let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
            check(&pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
        };
        let error = |text: &str| told(text).unwrap_err();
        assert_eq!(error("MaxUnavailableStatefulSe=true"), "unrecognized feature gate: MaxUnavailableStatefulSe");
        let locked = "cannot set feature gate SidecarContainers to false, feature is locked to true";
        assert_eq!(error("SidecarContainers=false"), locked);
        assert_eq!(error("HPAScaleToZero=perhaps"), "invalid value of HPAScaleToZero=perhaps, err: not a bool");
        let as_it_is =
            "SidecarContainers=true,RotateKubeletServerCertificate=true,HPAScaleToZero=false,kube:AllAlpha=false";
        assert_eq!(told(as_it_is), Ok(Vec::new()));
        let idle = "--feature-gates: HPAScaleToZero cannot be switched here; it stays off, as upstream's default";
        assert_eq!(told("HPAScaleToZero=true"), Ok(vec![idle.to_owned()]));
    }

    #[test]
    fn a_feature_stands_once_and_is_found() {
        let names: Vec<_> = all().map(|feature| feature.name).collect();
        assert!(names.is_sorted_by(|one, next| one < next));
        assert!(names.iter().all(|name| known(name).is_ok_and(|feature| feature.name == *name)));
        let of = |name: &str| known(name).map(|feature| (feature.stage, feature.is_on, feature.is_locked));
        assert_eq!(of("HPAScaleToZero"), Ok(("ALPHA", false, false)));
        assert_eq!(of("SidecarContainers"), Ok(("", true, true)));
    }
}
