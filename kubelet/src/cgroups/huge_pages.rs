//! How many bytes of huge pages a cgroup may use, by size of page: what is asked for, and of every other size that the
//! machine has none (`HugePageLimits` of `pkg/kubelet/cm`). Pure.

use k8s_openapi::api::core::v1::Pod;
use machinery::quantity::Quantity;

use crate::pod::configs::resources;

const PREFIX: &str = "hugepages-";
/// Nothing is held to this.
const UNBOUNDED: i64 = 1 << 62;

/// The sizes of huge pages that the machine has, in KiB; none where the kernel does not limit them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sizes(pub Vec<i64>);

impl Sizes {
    /// The limits of a pod's cgroup.
    pub fn of_pod(&self, pod: &Pod) -> Vec<(String, i64)> {
        let requests = resources::requests(pod);
        self.of_amounts(requests.iter().map(|(name, bytes)| (name.as_str(), *bytes)))
    }

    /// The limits for amounts by the names of resources; names that write one size in two ways count together.
    pub fn of_amounts<'a>(&self, amounts: impl IntoIterator<Item = (&'a str, i64)>) -> Vec<(String, i64)> {
        let size = |name: &str| Some(Quantity::parse(name.strip_prefix(PREFIX)?).ok()?.value());
        let asked: Vec<(i64, i64)> =
            amounts.into_iter().filter_map(|(name, bytes)| Some((size(name)?, bytes))).collect();
        let of = |size_kib: &i64| {
            let own = asked.iter().filter(|(size, _)| *size == size_kib.saturating_mul(1024));
            (kernel_name(*size_kib), own.map(|(_, bytes)| bytes).fold(0, |sum: i64, bytes| sum.saturating_add(*bytes)))
        };
        self.0.iter().map(of).collect()
    }

    /// The limits of a class of service, and of all pods together: each pod has its own.
    pub fn unbounded(&self) -> Vec<(String, i64)> {
        self.0.iter().map(|size_kib| (kernel_name(*size_kib), UNBOUNDED)).collect()
    }
}

/// As the kernel's files are named.
fn kernel_name(size_kib: i64) -> String {
    match size_kib {
        size if size >= 1 << 20 => format!("{}GB", size >> 20),
        size if size >= 1 << 10 => format!("{}MB", size >> 10),
        size => format!("{size}KB"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_asked_for_is_none() {
        let sizes = Sizes(vec![64, 2048, 1 << 20]);
        let asking = |amounts: serde_json::Value| -> Pod {
            serde_json::from_value(json!({"spec": {"containers": [
                {"name": "a", "resources": {"requests": amounts}}, {"name": "b", "resources": {"requests": amounts}}]}}))
            .expect("a pod")
        };
        let named =
            |bytes: [i64; 3]| ["64KB", "2MB", "1GB"].map(str::to_owned).into_iter().zip(bytes).collect::<Vec<_>>();
        for (amounts, wanted) in [
            (json!({"cpu": "1"}), [0, 0, 0]),
            (json!({"hugepages-2Mi": "4Mi", "memory": "1Gi"}), [0, 8 << 20, 0]),
            (
                json!({"hugepages-2Mi": "4Mi", "hugepages-2048Ki": "2Mi", "hugepages-1Gi": "1Gi"}),
                [0, 12 << 20, 2 << 30],
            ),
            (json!({"hugepages-": "1", "hugepages-16Gi": "16Gi"}), [0, 0, 0]),
        ] {
            assert_eq!(sizes.of_pod(&asking(amounts.clone())), named(wanted), "{amounts}");
        }
        assert_eq!(sizes.unbounded(), named([1 << 62; 3]));
    }
}
