//! A cluster's authorities and certificates.

use std::collections::BTreeSet;

use jiff::{Timestamp, ToSpan as _};

use super::*;

fn names(node: &str) -> Names<'_> {
    Names { node, node_address: IpAddr::from([192, 0, 2, 1]), service_address: IpAddr::from([10, 96, 0, 1]) }
}

fn renewed(layout: &Layout, node: &str, now: Timestamp) -> BTreeSet<String> {
    ensure(layout, &names(node), now).unwrap().into_iter().collect()
}

fn after_days(days: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + (days * 24).hours()
}

#[test]
fn what_is_right_is_kept_and_the_rest_renewed() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::new(folder.path().to_owned());
    let start = 20_000;

    let first = renewed(&layout, "one", after_days(start));
    // With the authorities, and the ServiceAccounts' keys.
    assert_eq!(first.len(), AUTHORITIES.len() + 1 + wanted(&names("one")).len(), "{first:?}");
    assert_eq!(renewed(&layout, "one", after_days(start + 300)), BTreeSet::new());

    let of_node = renewed(&layout, "two", after_days(start + 300));
    let expected = ["kube-apiserver", "kubelet", "kubelet-server"].map(|name| format!("{name}: names changed"));
    assert_eq!(of_node, BTreeSet::from(expected));

    let expiring = renewed(&layout, "two", after_days(start + 340));
    assert!(expiring.contains("admin: expires soon") && !expiring.contains("kubelet: expires soon"), "{expiring:?}");

    std::fs::copy(layout.key("admin"), layout.key("kube-proxy")).unwrap();
    assert_eq!(renewed(&layout, "two", after_days(start + 341)), BTreeSet::from(["kube-proxy: missing".to_owned()]));

    std::fs::remove_file(layout.certificate(CA)).unwrap();
    let anew = renewed(&layout, "two", after_days(start + 341));
    assert!(anew.contains("kubelet: of another authority"), "{anew:?}");
}

#[test]
fn private_keys_are_for_root_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::new(folder.path().to_owned());
    renewed(&layout, "one", after_days(20_000));
    for entry in std::fs::read_dir(layout.path("pki")).unwrap() {
        let entry = entry.unwrap();
        if entry.path().extension().is_some_and(|extension| extension == "key") {
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
        }
    }
}
