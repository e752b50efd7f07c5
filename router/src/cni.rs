//! The CNI configuration of this node's pods, from the ranges that its Node was given.
//!
//! [`configuration`] is pure. The plugins do not masquerade: they know this node's pods only, and would hide them from
//! those of other nodes. The router does, for what leaves the cluster.

use std::path::Path;

use ipnet::IpNet;
use serde_json::{Value, json};

const FILE: &str = "10-skiff-router.conflist";

/// `bridge`, `host-local` and `portmap`, with an address of each range for every pod.
pub(crate) fn configuration(ranges: &[IpNet], bridge: &str) -> Value {
    let ranges: Vec<Value> = ranges.iter().map(|range| json!([{"subnet": range}])).collect();
    json!({
        "cniVersion": "1.0.0",
        "name": "skiff",
        "plugins": [
            {
                "type": "bridge",
                "bridge": bridge,
                "isDefaultGateway": true,
                "hairpinMode": true,
                "ipam": {"type": "host-local", "ranges": ranges},
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    })
}

/// Writes the configuration beside its place and renames it: runtimes watch the folder and read what they see.
pub(crate) fn write(folder: &Path, configuration: &Value) -> std::io::Result<()> {
    let text = format!("{configuration:#}\n");
    let (path, beside) = (folder.join(FILE), folder.join(format!(".{FILE}.new")));
    if std::fs::read_to_string(&path).is_ok_and(|known| known == text) {
        return Ok(());
    }
    std::fs::create_dir_all(folder)?;
    std::fs::write(&beside, text)?;
    std::fs::rename(&beside, &path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_range_gives_an_address() {
        let ranges = ["10.244.1.0/24".parse().unwrap(), "fd00:1::/64".parse().unwrap()];
        let text = configuration(&ranges, "cni0")["plugins"][0]["ipam"]["ranges"].to_string();
        assert_eq!(text, r#"[[{"subnet":"10.244.1.0/24"}],[{"subnet":"fd00:1::/64"}]]"#);
    }

    #[test]
    fn the_file_is_there_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("net.d");
        let one = configuration(&["10.244.1.0/24".parse().unwrap()], "cni0");
        write(&folder, &one).unwrap();
        write(&folder, &one).unwrap();
        let files: Vec<_> = std::fs::read_dir(&folder).unwrap().flatten().map(|entry| entry.file_name()).collect();
        assert_eq!(files, [FILE]);
        let read = std::fs::read_to_string(folder.join(FILE)).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&read).unwrap(), one);
    }
}
