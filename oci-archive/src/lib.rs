//! Writes an OCI image as one archive that `ctr images import` and `skopeo copy oci-archive:` read.
//!
//! Fill a [`Layer`] with files and hand it to [`Image::to_archive`]. Layers are stored as plain tar, times are zero and
//! owners root: the same files always make the same bytes. It reads no files and knows no registry.
//! Formats: OCI image specification, `image-layout.md`, `manifest.md`, `config.md`.

use std::collections::BTreeMap;
use std::io;

use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// The part of an image's `config` object that a runtime reads.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Config {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// `80/tcp` and the like; the values are empty objects.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub exposed_ports: BTreeMap<String, BTreeMap<(), ()>>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
}

/// One file-system layer under construction. Parent folders are made as they are needed.
pub struct Layer {
    tar: tar::Builder<Vec<u8>>,
    folders: std::collections::BTreeSet<String>,
}

impl Default for Layer {
    fn default() -> Self {
        Self { tar: tar::Builder::new(Vec::new()), folders: Default::default() }
    }
}

impl Layer {
    /// Adds a folder with `mode`, and its parents with 0755.
    pub fn folder(&mut self, path: &str, mode: u32) -> io::Result<()> {
        let path = path.trim_matches('/');
        if path.is_empty() || !self.folders.insert(path.to_owned()) {
            return Ok(());
        }
        self.parents(path)?;
        let header = header(tar::EntryType::Directory, mode, 0);
        self.tar.append_data(&mut header.clone(), format!("{path}/"), io::empty())
    }

    pub fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        let path = path.trim_matches('/');
        self.parents(path)?;
        let mut header = header(tar::EntryType::Regular, mode, content.len() as u64);
        self.tar.append_data(&mut header, path, content)
    }

    /// Adds a symbolic link at `path` to `target`.
    pub fn link(&mut self, path: &str, target: &str) -> io::Result<()> {
        let path = path.trim_matches('/');
        self.parents(path)?;
        let mut header = header(tar::EntryType::Symlink, 0o777, 0);
        self.tar.append_link(&mut header, path, target)
    }

    fn parents(&mut self, path: &str) -> io::Result<()> {
        match path.rsplit_once('/') {
            Some((parent, _)) => self.folder(parent, 0o755),
            None => Ok(()),
        }
    }
}

fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header
}

/// An image with its full reference (`docker.io/library/nginx:latest`).
pub struct Image {
    pub reference: String,
    pub config: Config,
    pub layers: Vec<Layer>,
}

impl Image {
    /// The whole archive in memory; its size is that of the layers and a few kilobytes.
    pub fn to_archive(self) -> io::Result<Vec<u8>> {
        let mut blobs = Blobs::default();
        let mut descriptors = Vec::new();
        for layer in self.layers {
            descriptors.push(blobs.add("application/vnd.oci.image.layer.v1.tar", layer.tar.into_inner()?));
        }
        let diff_ids: Vec<&Value> = descriptors.iter().map(|descriptor| &descriptor["digest"]).collect();
        let config = json!({
            "architecture": architecture(),
            "os": "linux",
            "config": self.config,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = blobs.add("application/vnd.oci.image.config.v1+json", config.to_string().into_bytes());
        let manifest_type = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({"schemaVersion": 2, "mediaType": manifest_type, "config": config, "layers": descriptors});
        let mut manifest = blobs.add(manifest_type, manifest.to_string().into_bytes());
        let tag = self.reference.rsplit_once(':').map_or("latest", |(_, tag)| tag);
        manifest["annotations"] = json!({
            "io.containerd.image.name": self.reference,
            "org.opencontainers.image.ref.name": tag,
        });
        blobs.into_archive(json!({"schemaVersion": 2, "manifests": [manifest]}))
    }
}

/// `GOARCH` of the machine this was built for, as image configurations want it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Blobs by hex digest: equal content is stored once.
#[derive(Default)]
struct Blobs(BTreeMap<String, Vec<u8>>);

impl Blobs {
    fn add(&mut self, media_type: &str, content: Vec<u8>) -> Value {
        let hex: String = Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
        let descriptor = json!({"mediaType": media_type, "digest": format!("sha256:{hex}"), "size": content.len()});
        self.0.insert(hex, content);
        descriptor
    }

    fn into_archive(self, index: Value) -> io::Result<Vec<u8>> {
        let mut archive = Layer::default();
        archive.file("oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        archive.file("index.json", 0o644, index.to_string().as_bytes())?;
        for (digest, content) in &self.0 {
            archive.file(&format!("blobs/sha256/{digest}"), 0o644, content)?;
        }
        archive.tar.into_inner()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    fn sample() -> Image {
        let mut layer = Layer::default();
        layer.file("/usr/bin/tool", 0o755, b"#!").unwrap();
        layer.link("/bin", "usr/bin").unwrap();
        let config = Config { entrypoint: vec!["/usr/bin/tool".into()], ..Config::default() };
        Image { reference: "docker.io/library/tool:1".into(), config, layers: vec![layer] }
    }

    fn entries(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut tar = tar::Archive::new(archive);
        let read = |entry: io::Result<tar::Entry<'_, _>>| {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            (entry.path().unwrap().display().to_string(), content)
        };
        tar.entries().unwrap().map(read).collect()
    }

    #[test]
    fn every_descriptor_leads_to_a_blob_with_its_digest() {
        let files = entries(&sample().to_archive().unwrap());
        let blob = |descriptor: &Value| -> Vec<u8> {
            let digest = descriptor["digest"].as_str().unwrap().trim_start_matches("sha256:").to_owned();
            let content = files[&format!("blobs/sha256/{digest}")].clone();
            assert_eq!(descriptor["size"], content.len());
            content
        };
        let index: Value = serde_json::from_slice(&files["index.json"]).unwrap();
        let manifest: Value = serde_json::from_slice(&blob(&index["manifests"][0])).unwrap();
        let config: Value = serde_json::from_slice(&blob(&manifest["config"])).unwrap();
        assert_eq!(config["config"], json!({"Entrypoint": ["/usr/bin/tool"]}));
        assert_eq!(config["rootfs"]["diff_ids"][0], manifest["layers"][0]["digest"]);
        let layer = entries(&blob(&manifest["layers"][0]));
        assert_eq!(layer.keys().map(String::as_str).collect::<Vec<_>>(), ["bin", "usr/", "usr/bin/", "usr/bin/tool"]);
    }

    #[test]
    fn the_same_files_make_the_same_bytes() {
        assert_eq!(sample().to_archive().unwrap(), sample().to_archive().unwrap());
    }
}
