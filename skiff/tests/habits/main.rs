//! kubectl's own habits, from the oldest kubectl that is here to the newest: each page of `pages/` is a story of
//! commands and exactly what they print. No containers are needed; the cluster tests have what needs them.
//!
//! `SKIFF_UPDATE=1` writes what was printed into the pages, to be read before it is kept. `SKIFF_PAGE=name` runs one.

mod certificates;
mod clients;
mod page;
mod plane;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};

use clients::Client;
use page::{How, Step};
use plane::Plane;

/// Pages at a time.
const WORKERS: usize = 4;
const STEP_SECONDS: u64 = 60;
const UNTIL: Duration = Duration::from_secs(60);

/// What the pages may use beside kubectl.
const TOOLS: &str = include_str!("tools.sh");

#[test]
fn pages_print_what_they_say() -> Result<()> {
    let plane = Plane::start()?;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/habits/pages");
    let wanted = std::env::var("SKIFF_PAGE").ok();
    let mut pages: Vec<PathBuf> = std::fs::read_dir(&folder)?.flatten().map(|entry| entry.path()).collect();
    pages.retain(|page| wanted.as_ref().is_none_or(|wanted| page.file_stem().is_some_and(|stem| stem == &wanted[..])));
    pages.sort();
    ensure!(!pages.is_empty(), "no pages");
    let mut failures = Vec::new();
    let mut clients = clients::ends()?;
    if is_update() {
        clients.drain(..clients.len() - 1);
    }
    for client in clients {
        println!("kubectl 1.{}", client.minor);
        failures.extend(run_all(&plane, &client, &pages));
    }
    ensure!(failures.is_empty(), "{}\n{}", failures.join("\n"), plane.logs());
    Ok(())
}

/// Whether what is printed goes into the pages. The newest kubectl is the one that writes.
fn is_update() -> bool {
    std::env::var_os("SKIFF_UPDATE").is_some()
}

fn run_all(plane: &Plane, client: &Client, pages: &[PathBuf]) -> Vec<String> {
    let (left, failures) = (Mutex::new(pages.iter()), Mutex::new(Vec::new()));
    let next = || left.lock().ok()?.next();
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some(page) = next() {
                    let start = Instant::now();
                    let result = Story::new(plane, client, page).and_then(|story| story.tell());
                    println!("{:6.1}s  {}", start.elapsed().as_secs_f64(), page.display());
                    if let (Err(error), Ok(mut failures)) = (result, failures.lock()) {
                        failures.push(format!("{} with kubectl 1.{}: {error:#}", page.display(), client.minor));
                    }
                }
            });
        }
    });
    failures.into_inner().unwrap_or_else(|_| vec!["a page panicked".into()])
}

/// One page, with a namespace and a folder of its own.
struct Story<'a> {
    page: &'a Path,
    client: &'a Client,
    plane: &'a Plane,
    folder: PathBuf,
    path: String,
    namespace: String,
}

impl<'a> Story<'a> {
    fn new(plane: &'a Plane, client: &'a Client, page: &'a Path) -> Result<Self> {
        let namespace = page.file_stem().context("a page has a name")?.to_string_lossy().into_owned();
        let folder = plane.folder().join(format!("{namespace}-{}", client.minor));
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("tools.sh"), TOOLS)?;
        let config = std::fs::read_to_string(plane.kubeconfig())?;
        let mut config: serde_json::Value = serde_json::from_str(&config)?;
        config["contexts"][0]["context"]["namespace"] = namespace.as_str().into();
        std::fs::write(folder.join("kubeconfig"), config.to_string())?;
        let path = std::env::var("PATH").unwrap_or_default();
        let path = format!("{}:{path}", client.folder(plane.folder())?.display());
        Ok(Self { page, client, plane, folder, path, namespace })
    }

    fn tell(&self) -> Result<()> {
        self.plane.kubectl(&["create", "namespace", &self.namespace])?;
        let account = || self.plane.kubectl(&["get", "serviceaccount", "default", "--namespace", &self.namespace]);
        testbed::eventually("the namespace has its ServiceAccount", UNTIL, account)?;
        let steps = page::parse(&std::fs::read_to_string(self.page)?).map_err(|problem| anyhow!(problem))?;
        let result = self.steps(&steps);
        self.plane.kubectl(&["delete", "namespace", &self.namespace])?;
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
        let start = Instant::now();
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
        }
    }

    /// What a command printed on either stream, and whether it succeeded.
    fn run(&self, command: &str) -> Result<(Vec<String>, bool)> {
        let mut shell = Command::new("timeout");
        shell.args([&STEP_SECONDS.to_string(), "bash", "-c"]).arg(format!(". ./tools.sh\nexec 2>&1\n{command}"));
        shell.current_dir(&self.folder).env_clear().envs([
            ("PATH", self.path.as_str()),
            ("HOME", &self.folder.display().to_string()),
            ("KUBECONFIG", &self.folder.join("kubeconfig").display().to_string()),
            ("NAMESPACE", &self.namespace),
            ("LC_ALL", "C"),
            ("TZ", "UTC"),
        ]);
        let output = shell.stdin(Stdio::null()).output().context("run a shell")?;
        Ok((Step::lines(&String::from_utf8_lossy(&output.stdout)), output.status.success()))
    }
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
