//! One page told with one kubectl, in a namespace and a folder of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};

use super::clients::Client;
use super::page::{self, How, Step};
use super::{Stage, is_update};
use crate::{eventually, wait::Pace};

/// A command that takes longer hangs.
const STEP_SECONDS: u64 = 60;
const UNTIL: Duration = Duration::from_secs(60);

pub(super) struct Story<'a> {
    stage: &'a Stage<'a>,
    client: &'a Client,
    page: &'a Path,
    folder: PathBuf,
    path: String,
    namespace: String,
}

impl<'a> Story<'a> {
    pub(super) fn new(stage: &'a Stage<'a>, client: &'a Client, page: &'a Path) -> Result<Self> {
        let namespace = page.file_stem().context("a page has a name")?.to_string_lossy().into_owned();
        let folder = stage.folder.join(format!("{namespace}-{}", client.minor));
        std::fs::create_dir_all(&folder)?;
        std::fs::copy(stage.tools, folder.join("tools.sh"))?;
        std::fs::copy(stage.kubeconfig, folder.join("kubeconfig"))?;
        let path = std::env::var("PATH").unwrap_or_default();
        let path = format!("{}:{path}", client.folder(stage.folder)?.display());
        Ok(Self { stage, client, page, folder, path, namespace })
    }

    pub(super) fn tell(&self) -> Result<()> {
        let file = format!("--kubeconfig={}", self.folder.join("kubeconfig").display());
        let namespace = format!("--namespace={}", self.namespace);
        self.stage.kubectl(&["config", "set-context", "--current", &file, &namespace])?;
        self.stage.kubectl(&["create", "namespace", &self.namespace])?;
        let account = || self.stage.kubectl(&["get", "serviceaccount", "default", "--namespace", &self.namespace]);
        eventually("the namespace has its ServiceAccount", UNTIL, account)?;
        let steps = page::parse(&std::fs::read_to_string(self.page)?).map_err(|problem| anyhow!(problem))?;
        let result = self.steps(&steps);
        self.stage.kubectl(&["delete", "namespace", &self.namespace])?;
        result
    }

    fn steps(&self, steps: &[Step]) -> Result<()> {
        let (mut written, mut failures) = (String::new(), Vec::new());
        for step in steps {
            if !step.versions.contains(&self.client.minor) {
                written += &(step.render(&step.expected) + "\n");
                continue;
            }
            match self.step(step) {
                Ok(()) => written += &(step.render(&step.expected) + "\n"),
                Err(Wrong { lines, problem }) => {
                    written += &(step.render(&lines) + "\n");
                    failures.push(format!("$ {}\n{problem}\n{}", step.command, lines.join("\n")));
                }
            }
        }
        if is_update() {
            std::fs::write(self.page, written.trim_end().to_owned() + "\n")?;
        }
        ensure!(failures.is_empty(), "{}", failures.join("\n"));
        Ok(())
    }

    fn step(&self, step: &Step) -> Result<(), Wrong> {
        let (start, mut pace) = (Instant::now(), Pace::new());
        loop {
            let (lines, success) =
                self.run(&step.command).map_err(|error| Wrong::new(Vec::new(), format!("{error:#}")))?;
            let ends_well = success != (step.how == How::Fails);
            if ends_well && step.fits(&lines) {
                return Ok(());
            }
            let until = if step.expected.is_empty() && is_update() { UNTIL / 10 } else { UNTIL };
            if step.how != How::Until || start.elapsed() > until {
                let problem = if ends_well {
                    format!("was to print:\n{}\nand printed:", step.expected.join("\n"))
                } else {
                    format!("{}:", if success { "succeeded" } else { "failed" })
                };
                return Err(Wrong::new(lines, problem));
            }
            pace.pause();
        }
    }

    /// What a command printed on either stream, and whether it succeeded.
    fn run(&self, command: &str) -> Result<(Vec<String>, bool)> {
        let folder = self.folder.display();
        let mut shell: Command = self.stage.command("env");
        shell.arg("--ignore-environment").args([
            format!("PATH={}", self.path),
            format!("HOME={folder}"),
            format!("KUBECONFIG={folder}/kubeconfig"),
            format!("NAMESPACE={}", self.namespace),
            "LC_ALL=C".to_owned(),
            "TZ=UTC".to_owned(),
        ]);
        let script = format!("cd \"$HOME\" && . ./tools.sh\nexec 2>&1\n{command}");
        shell.args(["timeout", &STEP_SECONDS.to_string(), "bash", "-c", &script]);
        let output = shell.stdin(Stdio::null()).output().context("run a shell")?;
        let mut lines = Step::lines(&String::from_utf8_lossy(&output.stdout));
        lines.retain(|line| !is_clients_race(line));
        Ok((lines, output.status.success()))
    }
}

/// kubectl 1.30 to 1.33 reads before it has made its streams, and on a busy machine complains of a message that came sooner.
/// The server's first one is empty; of any other the page would miss the text.
fn is_clients_race(line: &str) -> bool {
    line.contains("websocket.go") && line.contains("Unknown stream id") && line.ends_with("discarding message")
}

/// What was printed instead.
struct Wrong {
    lines: Vec<String>,
    problem: String,
}

impl Wrong {
    fn new(lines: Vec<String>, problem: String) -> Self {
        Self { lines, problem }
    }
}
