//! The bed: one test's own network, mount, process, cgroup, IPC and host-name namespaces.
//!
//! The work is in `holder.sh` (lives as long as the test and cleans up), `enter.sh` (makes the namespaces) and `setup.sh`
//! (runs inside). Nothing here needs a destructor to have run: the holder sees its pipe close. More machines on one
//! link are in `neighbours`.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use anyhow::{Context as _, Result, bail};
use nix::sched::{CloneFlags, setns};

/// Namespaces with a folder. Dropping it ends every process inside and removes the folder and its cgroups.
pub struct Bed {
    folder: PathBuf,
    unshare_pid: u32,
    holder: Child,
    pipe: Option<ChildStdin>,
    address: Ipv4Addr,
    /// How many machines were put beside this one.
    pub(crate) neighbours: AtomicU8,
}

/// The address of a bed without neighbours; they have the next ones.
const FIRST_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 2);

/// What a finished program left: its standard streams as text.
#[derive(Clone, Debug)]
pub struct Output {
    pub success: bool,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// Runs a command to its end, whatever its exit status.
    pub fn of(command: &mut Command) -> Result<Self> {
        let output = command.stdin(Stdio::null()).output().with_context(|| format!("run {command:?}"))?;
        Ok(Self {
            success: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Standard output of a command line that must have succeeded.
    pub(crate) fn stdout_of(self, arguments: &[&str]) -> Result<String> {
        if !self.success {
            bail!("{} failed:\n{}{}", arguments.join(" "), self.stdout, self.stderr);
        }
        Ok(self.stdout)
    }
}

impl Bed {
    /// Makes the namespaces, or `None` with a printed notice where the test does not run as root.
    pub fn new(name: &str) -> Result<Option<Self>> {
        if !is_root() {
            println!("SKIPPED: {name} needs root for namespaces");
            return Ok(None);
        }
        Self::at(name, FIRST_ADDRESS).map(Some)
    }

    /// With an address of its own on the device that leads out, `eth0`.
    pub(crate) fn at(name: &str, address: Ipv4Addr) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("skiff-test-{}-{count}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        for (name, script) in [("enter.sh", include_str!("enter.sh")), ("setup.sh", include_str!("setup.sh"))] {
            std::fs::write(folder.join(name), script).with_context(|| format!("write {name}"))?;
        }
        std::fs::write(folder.join("address"), address.to_string()).context("write the address")?;
        let mut command = Command::new("sh");
        command.args(["-c", include_str!("holder.sh"), "holder"]).arg(&folder);
        // Out of the terminal's process group: Ctrl-C is to reach the test, and the holder through its pipe.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let mut holder = command.spawn().context("start the holder of the namespaces")?;
        let pipe = holder.stdin.take();
        let told = BufReader::new(holder.stdout.take().context("standard output of the holder")?);
        let mut told = told.lines();
        let unshare_pid = told.next().context("a process id of the namespaces")??.parse()?;
        let bed = Self { folder, unshare_pid, holder, pipe, address, neighbours: AtomicU8::new(0) };
        match told.next().transpose()?.as_deref() {
            Some("ready") => Ok(bed),
            _ => bail!("the namespaces are not set up:\n{}", bed.logs()),
        }
    }

    /// A folder on the machine's disk that inside and outside see under the same path.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Name of the bed, of its host name and of its cgroups outside.
    pub fn name(&self) -> String {
        self.folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// The address of `eth0`, in a network of 256.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// A file of the bed as it is seen from outside, also one that only its own mounts show.
    pub(crate) fn outside_path(&self, inside: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{inside}", self.unshare_pid))
    }

    /// A command that runs `program` inside. Its process ids are those of the bed.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        let of = |kind: &str, namespace: &str| format!("--{kind}=/proc/{}/ns/{namespace}", self.unshare_pid);
        command.args([
            of("net", "net"),
            of("mount", "mnt"),
            of("ipc", "ipc"),
            of("uts", "uts"),
            of("cgroup", "cgroup"),
        ]);
        command.args([of("pid", "pid_for_children"), "--wd=/".into(), "--".into()]).arg(program);
        command
    }

    /// Moves the calling thread into the bed's network, for clients that are no programs of their own. Threads that it
    /// starts later follow it; others stay where they are.
    pub fn enter_network(&self) -> Result<()> {
        let path = self.network();
        let namespace = std::fs::File::open(&path).with_context(|| format!("open {path}"))?;
        setns(namespace, CloneFlags::CLONE_NEWNET).with_context(|| format!("enter {path}"))
    }

    /// The file of its network namespace.
    pub(crate) fn network(&self) -> String {
        format!("/proc/{}/ns/net", self.unshare_pid)
    }

    /// Runs a command line to its end, whatever its exit status.
    pub fn output(&self, arguments: &[&str]) -> Result<Output> {
        let (program, rest) = arguments.split_first().context("an empty command line")?;
        Output::of(self.command(program).args(rest))
    }

    /// Runs a command line that must succeed and returns its standard output.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        self.output(arguments)?.stdout_of(arguments)
    }

    /// Starts a program that stays, with both streams in `<folder>/<log>.log`.
    pub fn start(&self, log: &str, command: &mut Command) -> Result<Child> {
        let path = self.log_path(log);
        let file = std::fs::File::options().create(true).append(true).open(&path);
        let file = file.with_context(|| format!("open {}", path.display()))?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        command.spawn().with_context(|| format!("start {log}"))
    }

    pub fn log_path(&self, log: &str) -> PathBuf {
        self.folder.join(format!("{log}.log"))
    }

    /// The last lines of every log in the folder, for the message of a failed test.
    pub fn logs(&self) -> String {
        let mut text = String::new();
        for entry in std::fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == "log") {
                let log = String::from_utf8_lossy(&std::fs::read(&path).unwrap_or_default()).into_owned();
                let lines: Vec<&str> = log.lines().collect();
                let tail = lines[lines.len().saturating_sub(40)..].join("\n");
                let _ = writeln!(text, "---- {} ----\n{tail}", path.display());
            }
        }
        text
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", self.logs());
        }
        drop(self.pipe.take());
        let _ = self.holder.wait();
    }
}

fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
    uids.split_whitespace().nth(1) == Some("0")
}
