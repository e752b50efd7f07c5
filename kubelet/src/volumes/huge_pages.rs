//! Volumes of huge pages: which mediums ask for them, and of what size. Pure.

use k8s_openapi::api::core::v1::Pod;
use machinery::quantity::Quantity;

use crate::pod::spec;

/// Pages of the only size that the pod asks for; with a size after it, of that one.
const MEDIUM: &str = "HugePages";
const RESOURCE: &str = "hugepages-";

/// How large each page of an emptyDir of this medium is, in bytes; None where the medium is none of huge pages.
///
/// # Errors
/// A size that cannot be read, or that the pod's containers do not tell: nobody would have counted the pages.
pub(super) fn page_bytes(medium: &str, pod: &Pod) -> Option<Result<i64, String>> {
    let asked = match medium.strip_prefix(MEDIUM)? {
        "" => None,
        size => match Quantity::parse(size.strip_prefix('-')?) {
            Ok(size) => Some(size.value()),
            Err(error) => return Some(Err(error.to_string())),
        },
    };
    let mut sizes = sizes_of(pod);
    sizes.retain(|size| asked.is_none_or(|asked| asked == *size));
    Some(match sizes.as_slice() {
        [] => Err(format!(
            "medium {medium}: hugePages storage requested, but there is no resource request for huge pages"
        )),
        [size] => Ok(*size),
        _ => Err(format!("medium: {medium} can't be used if container requests multiple huge page sizes")),
    })
}

/// Each once.
fn sizes_of(pod: &Pod) -> Vec<i64> {
    let pod_spec = spec::spec(pod);
    let containers = spec::init_containers(pod).iter().chain(&pod_spec.containers);
    let resources = containers.filter_map(|it| it.resources.as_ref()).chain(&pod_spec.resources);
    let names = resources.flat_map(|it| it.requests.iter().chain(&it.limits)).flat_map(|amounts| amounts.keys());
    let sizes = names.filter_map(|name| Quantity::parse(name.strip_prefix(RESOURCE)?).ok());
    let mut sizes: Vec<i64> = sizes.map(|size| size.value()).collect();
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

#[test]
fn pages_are_of_the_size_that_is_asked_for() {
    use serde_json::json;
    let pod = |amounts: &[&str]| -> Pod {
        let containers = amounts.iter().enumerate().map(|(at, name)| {
            let limits = json!({"cpu": "1", (*name): "8Mi"});
            json!({"name": format!("c{at}"), "resources": {"limits": limits, "requests": limits}})
        });
        let containers: Vec<_> = containers.collect();
        serde_json::from_value(json!({"metadata": {}, "spec": {"containers": containers}})).expect("a pod")
    };
    let (small, large) = ("hugepages-2Mi", "hugepages-1Gi");
    let none = "hugePages storage requested, but there is no resource request for huge pages";
    for (medium, amounts, wanted) in [
        ("", vec![small], None),
        ("Memory", vec![small], None),
        ("HugePagesOdd", vec![small], None),
        ("HugePages", vec![small], Some(Ok(2 << 20))),
        ("HugePages", vec![small, small], Some(Ok(2 << 20))),
        ("HugePages-1Gi", vec![small, large], Some(Ok(1 << 30))),
        ("HugePages", vec![], Some(Err(format!("medium HugePages: {none}")))),
        ("HugePages-1Gi", vec![small], Some(Err(format!("medium HugePages-1Gi: {none}")))),
        (
            "HugePages",
            vec![small, large],
            Some(Err("medium: HugePages can't be used if container requests multiple huge page sizes".into())),
        ),
    ] {
        assert_eq!(page_bytes(medium, &pod(&amounts)), wanted, "{medium} {amounts:?}");
    }
    assert!(matches!(page_bytes("HugePages-x", &pod(&[small])), Some(Err(_))));
}
