//! The node's own logins to registries, as `docker login` leaves them (`pkg/credentialprovider/config.go`).
//!
//! The first file that can be read is all that counts; it is looked for anew whenever it is asked for.

use std::path::{Path, PathBuf};

use k8s_cri::v1::AuthConfig;

use super::auth;

/// The files in the order in which they are looked for: those of now, then those of old.
#[derive(Debug, Default)]
pub struct Logins {
    files: Vec<PathBuf>,
    files_of_old: Vec<PathBuf>,
}

impl Logins {
    /// `kubelet` is the kubelet's folder, `working` where it runs, `home` its user's, `root` what holds all.
    fn new(kubelet: &Path, working: Option<&Path>, home: Option<&Path>, root: &Path) -> Self {
        let common = [Some(kubelet), working];
        let folders = common.into_iter().flatten().map(Path::to_owned);
        let docker = [home, Some(root)].into_iter().flatten().map(|folder| folder.join(".docker"));
        let of_old = common.into_iter().chain([home, Some(root)]).flatten();
        Self {
            files: folders.chain(docker).map(|folder| folder.join("config.json")).collect(),
            files_of_old: of_old.map(|folder| folder.join(".dockercfg")).collect(),
        }
    }

    /// Where upstream's kubelet looks. `kubelet` is the kubelet's folder.
    pub fn of_process(kubelet: &Path) -> Self {
        let (working, home) = (std::env::current_dir().ok(), std::env::home_dir());
        Self::new(kubelet, working.as_deref(), home.as_deref(), Path::new("/"))
    }

    /// The logins of the first file, with what they are filed under.
    pub(super) fn read(&self) -> Vec<(String, AuthConfig)> {
        let now = self.files.iter().find_map(|file| auth::of_login_file(&std::fs::read(file).ok()?));
        let of_old = || self.files_of_old.iter().find_map(|file| auth::of_old_login_file(&std::fs::read(file).ok()?));
        now.or_else(of_old).unwrap_or_default()
    }
}

#[test]
fn the_first_file_that_can_be_read_counts() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let (kubelet, home, root) = (at("kubelet"), at("home"), at("root"));
    let write = |path: PathBuf, text: &str| {
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(path, text).expect("writes");
    };
    let logins = Logins::new(&kubelet, None, Some(&home), &root);
    let users = || logins.read().into_iter().map(|(at, it)| format!("{at} {}", it.username)).collect::<Vec<_>>();
    assert_eq!(users(), Vec::<String>::new());
    write(root.join(".dockercfg"), r#"{"a.example": {"auth": "b2xkOnA"}}"#);
    assert_eq!(users(), ["a.example old"], "also without padding");
    write(root.join(".docker/config.json"), r#"{"auths": {"a.example": {"username": "all"}}}"#);
    assert_eq!(users(), ["a.example all"], "files of now come before all of old");
    write(home.join(".docker/config.json"), r#"{"auths": {"a.example": {"username": "home"}}}"#);
    assert_eq!(users(), ["a.example home"]);
    write(kubelet.join("config.json"), "no JSON");
    assert_eq!(users(), ["a.example home"], "what cannot be read is passed over");
    write(kubelet.join("config.json"), r#"{"auths": {"b.example": {"username": "kubelet"}}}"#);
    assert_eq!(users(), ["b.example kubelet"], "and others are not looked at");
}
