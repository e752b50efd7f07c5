//! Who gets a volume, and what is said of those that cannot be.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;

fn volumes(root: &std::path::Path) -> VolumeManager {
    let paths = Paths { root: root.into(), pod_logs: root.join("logs"), container_logs: root.join("links") };
    let sources = Arc::new(crate::env::tests::FakeSources::with(&[]));
    let clock = Clock::system();
    VolumeManager::new(paths, sources, Tokens::new(None, clock), clock, None, ImageMounts::native())
}

#[tokio::test]
async fn what_only_one_pod_may_have_waits_for_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let before = volumes(folder.path());
    let place = Place::HostPath { path: "/d".into(), type_: String::new() };
    let found = |volume: &str, is_for_one_pod, group| Found {
        volume: volume.into(),
        place: place.clone(),
        is_read_only: false,
        is_block: false,
        is_for_one_pod,
        group,
    };
    for pod in ["a", "b"] {
        fs::create_dir_all(before.paths.pod(pod)).expect("a pod's folder");
    }
    assert!(before.note("a", "data", found("pv", true, Some(7))).is_ok());
    assert!(before.note("a", "again", found("pv", true, Some(7))).is_ok(), "the same pod");
    let is_refused = |volumes: &VolumeManager| {
        let refused = volumes.note("b", "data", found("pv", true, None)).expect_err("another");
        let text = error::told(vec![("data".into(), refused)])[0].to_string();
        assert!(text.starts_with("MountVolume.SetUp failed for volume \"pv\" : volume uses the ReadWriteOncePod"));
    };
    is_refused(&before);
    assert!(before.note("b", "free", found("other", true, None)).is_ok());
    assert_eq!((before.groups("a"), before.groups("b")), (vec![7], vec![]));
    // Another kubelet, which happens to look at the other pod first.
    let after = volumes(folder.path());
    is_refused(&after);
    assert!(after.note("a", "data", found("pv", true, None)).is_ok());
    after.tear_down("a").await.expect("the pod is gone");
    assert!(after.note("b", "data", found("pv", true, None)).is_ok());
}

#[tokio::test]
async fn volumes_that_no_container_uses_are_no_ones_business() {
    let folder = tempfile::tempdir().expect("a folder");
    let volumes = volumes(folder.path());
    let pod = |mounts: Value| -> Pod {
        let object = json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u"}, "spec": {
            "containers": [{"name": "c", "volumeMounts": mounts}], "volumes": [
                {"name": "data", "emptyDir": {}}, {"name": "odd", "emptyDir": {"medium": "Odd"}},
                {"name": "far", "nfs": {"server": "s", "path": "/"}},
                {"name": "claimed", "persistentVolumeClaim": {"claimName": "x"}}]}});
        serde_json::from_value(object).expect("a pod")
    };
    let facts = crate::pod::configs::tests::facts();
    let mount = |name: &str| json!({"name": name, "mountPath": format!("/{name}")});
    assert_eq!(volumes.set_up(&pod(json!([mount("data")])), &[], &facts).await, Ok(None));
    let all = json!([mount("odd"), mount("data"), mount("far"), mount("claimed")]);
    let errors = volumes.set_up(&pod(all), &[], &facts).await.expect_err("three cannot be");
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), 3, "{texts:?}");
    assert!(texts[0].contains("volume \"odd\"") && texts[1].contains("volumes of type nfs"), "{texts:?}");
    assert!(texts[2].contains("unmounted volumes=[claimed far odd]"), "{texts:?}");
}

#[tokio::test]
async fn trust_bundles_are_refused_as_with_the_gate_disabled() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = json!({"clusterTrustBundle": {"name": "ca", "path": "ca.pem", "optional": true}});
    let object = json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u"}, "spec": {
        "containers": [{"name": "c", "volumeMounts": [{"name": "ca", "mountPath": "/ca"}]}],
        "volumes": [{"name": "ca", "projected": {"sources": [source]}}]}});
    let pod: Pod = serde_json::from_value(object).expect("a pod");
    let facts = crate::pod::configs::tests::facts();
    let errors = volumes(folder.path()).set_up(&pod, &[], &facts).await.expect_err("none is there");
    let wanted = "MountVolume.SetUp failed for volume \"ca\" : ClusterTrustBundle projection is not supported in static \
                  kubelet mode, or while the feature gate ClusterTrustBundleProjection is disabled";
    assert!(errors[0].to_string().starts_with(wanted), "{errors:?}");
}

#[test]
fn a_path_in_an_image_is_for_runtimes_that_know_of_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut volumes = volumes(folder.path());
    let mounts = json!([{"name": "i", "mountPath": "/whole"}, {"name": "i", "mountPath": "/part", "subPath": "etc/x"}]);
    let object = json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u"}, "spec": {
        "containers": [{"name": "c", "volumeMounts": mounts}],
        "volumes": [{"name": "i", "image": {"reference": "i:1"}}]}});
    let pod: Pod = serde_json::from_value(object).expect("a pod");
    let image = k8s_cri::v1::ImageSpec { image: "sha256:1".into(), ..Default::default() };
    let images = BTreeMap::from([("i".to_owned(), image.clone())]);
    let inputs = mounts::Inputs {
        pod: &pod,
        container: &spec::spec(&pod).containers[0],
        pod_ips: &[],
        env: &[],
        cluster_domain: "",
        restart_count: 0,
        has_recursive_read_only: false,
        images: &images,
    };
    let made = mounts::of_container(&volumes, &inputs).expect("it knows");
    let shown: Vec<_> = made.iter().map(|it| (it.container_path.as_str(), it.host_path.as_str(), &it.image)).collect();
    assert_eq!(shown, [("/whole", "", &Some(image.clone())), ("/part", "etc/x", &Some(image))]);
    volumes.images = ImageMounts::without_sub_paths();
    let error = mounts::of_container(&volumes, &inputs).expect_err("it would mount the whole image");
    assert!(error.starts_with("subPath of image volume \"i\" is not supported with this runtime, "), "{error}");
    assert!(error.ends_with("containerd 2.2 or CRI-O 1.33 is needed"), "{error}");
}
