//! ImageLocality.

use serde_json::{Value, json};

use super::scores;
use crate::plugins::image_locality::ImageLocality;
use crate::testkit::{node, pod};

const MEGABYTE: i64 = 1024 * 1024;

fn holding(name: &str, image: &str, megabytes: i64) -> std::sync::Arc<crate::objects::Node> {
    node(name, json!({"status": {"images": [{"names": [image], "sizeBytes": megabytes * MEGABYTE}]}}))
}

fn running(images: &[&str]) -> std::sync::Arc<crate::objects::Pod> {
    let containers: Vec<Value> = images.iter().map(|image| json!({"name": "c", "image": image})).collect();
    pod("p", json!({"spec": {"containers": containers}}))
}

#[test]
fn large_and_common_images_draw_pods() {
    let nodes = [holding("a", "registry.example/web:1", 500), holding("b", "registry.example/db:1", 90)];
    // 500 MB on one of two nodes counts 250: (250 - 23) / (1000 - 23).
    assert_eq!(scores(&ImageLocality, &running(&["registry.example/web:1"]), &nodes, &[]), [23, 0]);
    // Two containers: twice the range.
    let both = running(&["registry.example/web:1", "registry.example/db:1"]);
    assert_eq!(scores(&ImageLocality, &both, &nodes, &[]), [11, 1]);
    assert!(scores(&ImageLocality, &running(&["registry.example/other:1"]), &nodes, &[]).is_empty());
    let everywhere = [holding("a", "nginx:latest", 3000), holding("b", "nginx:latest", 3000)];
    assert_eq!(scores(&ImageLocality, &running(&["nginx"]), &everywhere, &[]), [100, 100]);
}

#[test]
fn an_image_without_tag_is_the_latest() {
    let nodes = [holding("a", "localhost:5000/web:latest", 1000)];
    for (image, score) in [("localhost:5000/web", 100), ("localhost:5000/web:1", 0)] {
        let got = scores(&ImageLocality, &running(&[image]), &nodes, &[]);
        assert_eq!(got.first().copied().unwrap_or(0), score, "{image}");
    }
}
