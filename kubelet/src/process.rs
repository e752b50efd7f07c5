//! The kubelet's own process: how many files it may open, when it is killed for memory, and on which kernel it may run.

use std::{fs, path::Path};

use crate::{Error, config::KubeletConfiguration};

/// What upstream wants of the kernel (`pkg/util/sysctl`): pods may ask for more memory than there is, and a machine whose
/// kernel fails comes back by itself.
const KERNEL: [(&str, &str); 6] = [
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];

/// Sets what the configuration asks for; what the machine does not allow is a warning, as upstream has it.
///
/// # Errors
/// With `protectKernelDefaults` every setting of the kernel that is another.
pub(crate) fn prepare(c: &KubeletConfiguration, root: &Path) -> Result<(), Error> {
    let others = kernel(&root.join("proc/sys"));
    if c.protect_kernel_defaults && !others.is_empty() {
        return Err(Error::Kernel(others.join(", ")));
    }
    if let Some(files) = c.max_open_files.and_then(|files| u64::try_from(files).ok()).filter(|files| *files > 0) {
        let limit = rustix::process::Rlimit { current: Some(files), maximum: Some(files) };
        if let Err(error) = rustix::process::setrlimit(rustix::process::Resource::Nofile, limit) {
            tracing::warn!(%error, files, "the limit of open files cannot be set");
        }
    }
    if let Some(score) = c.oom_score_adj
        && let Err(error) = fs::write(root.join("proc/self/oom_score_adj"), score.to_string())
    {
        tracing::warn!(%error, score, "the kubelet's oom_score_adj cannot be set");
    }
    Ok(())
}

/// The settings that are not as upstream wants them, in its words.
fn kernel(settings: &Path) -> Vec<String> {
    let other = |(name, wanted): (&str, &str)| {
        let actual = fs::read_to_string(settings.join(name)).ok()?;
        let actual = actual.trim();
        (actual != wanted)
            .then(|| format!("invalid kernel flag: {name}, expected value: {wanted}, actual value: {actual}"))
    };
    KERNEL.into_iter().filter_map(other).collect()
}

#[test]
fn another_kernel_is_refused_where_that_is_asked_for() {
    let root = tempfile::tempdir().expect("a folder");
    let settings = root.path().join("proc/sys");
    for (name, value) in KERNEL {
        let path = settings.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, format!("{value}\n")).expect("a file");
    }
    let protects = KubeletConfiguration { protect_kernel_defaults: true, ..KubeletConfiguration::default() };
    prepare(&protects, root.path()).expect("as it should be");
    fs::write(settings.join("kernel/panic"), "0\n").expect("a file");
    let error = prepare(&protects, root.path()).expect_err("another").to_string();
    assert!(error.contains("invalid kernel flag: kernel/panic, expected value: 10, actual value: 0"), "{error}");
    fs::create_dir_all(root.path().join("proc/self")).expect("a folder");
    let plain = KubeletConfiguration { oom_score_adj: Some(-5), ..KubeletConfiguration::default() };
    prepare(&plain, root.path()).expect("nothing is protected");
    assert_eq!(fs::read_to_string(root.path().join("proc/self/oom_score_adj")).expect("a file"), "-5");
}
