//! Which Kubernetes this is: what `--version`, `/version` and `kubernetes_build_info` say.

use serde::{Deserialize, Serialize};

/// The version that all parts tell. The build metadata is ours; a release bumps its last number. It is build metadata
/// and not a pre-release so that version ranges (`>= 1.36`) still match.
pub const GIT_VERSION: &str = "v1.36.2+skiff.1";
pub const MAJOR: &str = "1";
pub const MINOR: &str = "36";
pub const GIT_COMMIT: &str = match option_env!("SKIFF_GIT_COMMIT") {
    Some(commit) => commit,
    None => "0000000000000000000000000000000000000000",
};
pub const GIT_TREE_STATE: &str = "clean";
pub const BUILD_DATE: &str = match option_env!("SKIFF_BUILD_DATE") {
    Some(date) => date,
    None => "1970-01-01T00:00:00Z",
};
/// Upstream tells the Go release here; clients only print it.
pub const GO_VERSION: &str = concat!("rust", env!("CARGO_PKG_RUST_VERSION"));
pub const COMPILER: &str = "rustc";
pub const PLATFORM: &str = if cfg!(target_arch = "aarch64") { "linux/arm64" } else { "linux/amd64" };

/// Go's name of this machine's architecture, as in `status.nodeInfo.architecture` and image indexes.
pub const ARCHITECTURE: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };

/// The answer of `GET /version` (`k8s.io/apimachinery/pkg/version.Info`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Info {
    pub major: String,
    pub minor: String,
    pub emulation_major: String,
    pub emulation_minor: String,
    pub min_compatibility_major: String,
    pub min_compatibility_minor: String,
    pub git_version: String,
    pub git_commit: String,
    pub git_tree_state: String,
    pub build_date: String,
    pub go_version: String,
    pub compiler: String,
    pub platform: String,
}

/// This build.
pub fn info() -> Info {
    Info {
        major: MAJOR.into(),
        minor: MINOR.into(),
        emulation_major: MAJOR.into(),
        emulation_minor: MINOR.into(),
        min_compatibility_major: MAJOR.into(),
        min_compatibility_minor: "35".into(),
        git_version: GIT_VERSION.into(),
        git_commit: GIT_COMMIT.into(),
        git_tree_state: GIT_TREE_STATE.into(),
        build_date: BUILD_DATE.into(),
        go_version: GO_VERSION.into(),
        compiler: COMPILER.into(),
        platform: PLATFORM.into(),
    }
}

impl Info {
    /// As Go prints the structure: what upstream's `--version=raw` says.
    pub fn to_go_string(&self) -> String {
        let fields = [
            ("Major", &self.major),
            ("Minor", &self.minor),
            ("EmulationMajor", &self.emulation_major),
            ("EmulationMinor", &self.emulation_minor),
            ("MinCompatibilityMajor", &self.min_compatibility_major),
            ("MinCompatibilityMinor", &self.min_compatibility_minor),
            ("GitVersion", &self.git_version),
            ("GitCommit", &self.git_commit),
            ("GitTreeState", &self.git_tree_state),
            ("BuildDate", &self.build_date),
            ("GoVersion", &self.go_version),
            ("Compiler", &self.compiler),
            ("Platform", &self.platform),
        ];
        let fields: Vec<_> = fields.iter().map(|(name, value)| format!("{name}:{value:?}")).collect();
        format!("version.Info{{{}}}", fields.join(", "))
    }
}

/// The `User-Agent` of a component: `kubelet/v1.36.2+skiff.1 (linux/amd64) kubernetes/0000000`.
pub fn user_agent(component: &str) -> String {
    format!("{component}/{GIT_VERSION} ({PLATFORM}) kubernetes/{}", &GIT_COMMIT[..7.min(GIT_COMMIT.len())])
}
