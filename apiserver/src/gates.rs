//! `--feature-gates`: the features of upstream's that can be switched here. Asking for others to be what they are not is
//! refused: a server that lacks what its flags ask for is worse than one that does not start.

use std::collections::BTreeMap;

use component::flags::{Values, parse_bool};

/// What of the server's behaviour depends on features.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gates {
    /// The Lease that tells of this server.
    pub api_server_identity: bool,
    /// Autoscalers may scale to nothing.
    pub hpa_scale_to_zero: bool,
    /// StatefulSets may say how many pods are updated at a time.
    pub max_unavailable_stateful_set: bool,
}

impl Default for Gates {
    fn default() -> Self {
        Self { api_server_identity: true, hpa_scale_to_zero: false, max_unavailable_stateful_set: false }
    }
}

impl Gates {
    /// Adds to `wrong` what cannot be done.
    pub fn from_flags(values: &Values, wrong: &mut Vec<String>) -> Self {
        let mut gates = Self::default();
        let mut others = values.map("feature-gates");
        others.retain(|name, text| match (gates.find(name.strip_prefix("kube:").unwrap_or(name)), parse_bool(text)) {
            (Some(gate), Ok(wanted)) => {
                *gate = wanted;
                false
            }
            _ => true,
        });
        match component::gates::check(&others) {
            Ok(idle) => wrong.extend(idle),
            Err(error) => wrong.push(error),
        }
        gates
    }

    fn find(&mut self, name: &str) -> Option<&mut bool> {
        match name {
            "APIServerIdentity" => Some(&mut self.api_server_identity),
            "HPAScaleToZero" => Some(&mut self.hpa_scale_to_zero),
            "MaxUnavailableStatefulSet" => Some(&mut self.max_unavailable_stateful_set),
            _ => None,
        }
    }

    /// By upstream's names.
    pub fn by_name(&self) -> BTreeMap<&'static str, bool> {
        [
            ("APIServerIdentity", self.api_server_identity),
            ("HPAScaleToZero", self.hpa_scale_to_zero),
            ("MaxUnavailableStatefulSet", self.max_unavailable_stateful_set),
        ]
        .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> (Gates, Vec<String>) {
        let values = crate::flags().parse([format!("--feature-gates={text}")]).expect("flags of the table");
        let mut wrong = Vec::new();
        (Gates::from_flags(&values, &mut wrong), wrong)
    }

    #[test]
    fn what_is_built_is_switched_and_all_else_refused() {
        let (gates, wrong) = told("MaxUnavailableStatefulSet=true,kube:HPAScaleToZero=true,APIServerIdentity=false");
        let wanted = Gates { api_server_identity: false, hpa_scale_to_zero: true, max_unavailable_stateful_set: true };
        assert_eq!((gates, wrong), (wanted, Vec::new()));
        assert_eq!(told("SidecarContainers=true,AllAlpha=false"), (Gates::default(), Vec::new()));
        assert_eq!(told("Nothing=true").1, ["unrecognized feature gate: Nothing"]);
        assert_eq!(told("HPAScaleToZero=perhaps").1, ["invalid value of HPAScaleToZero=perhaps, err: not a bool"]);
        let refused = told("ClusterTrustBundle=true").1;
        assert!(
            matches!(&refused[..], [one] if one.contains("ClusterTrustBundle cannot be switched here")),
            "{refused:?}"
        );
    }

    #[test]
    fn the_switched_ones_are_upstreams_with_upstreams_defaults() {
        for (name, is_on) in Gates::default().by_name() {
            assert!(component::gates::all().any(|feature| feature.name == name && feature.is_on == is_on), "{name}");
        }
    }
}
