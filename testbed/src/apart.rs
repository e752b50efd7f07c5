//! Parts as processes of their own: started, killed, paused and started again, one by one.

use std::collections::BTreeMap;
use std::process::Child;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{Cluster, eventually};

/// How long a part has to end after SIGTERM.
const END_TIMEOUT: Duration = Duration::from_secs(30);

/// Programs by name. What runs ends with its bed at the latest.
pub struct Apart<'a> {
    cluster: &'a Cluster,
    lines: BTreeMap<String, Vec<String>>,
    /// In the order of their starts.
    running: Vec<(String, Child)>,
}

impl<'a> Apart<'a> {
    pub fn new(cluster: &'a Cluster) -> Self {
        Self { cluster, lines: BTreeMap::new(), running: Vec::new() }
    }

    /// Says how a program is started.
    pub fn define(&mut self, name: &str, line: Vec<String>) {
        self.lines.insert(name.to_owned(), line);
    }

    /// The command line of a part of Skiff: `program`, and the arguments that `skiff up` leaves for it.
    pub fn line(&self, part: &str, program: &[&str]) -> Result<Vec<String>> {
        let path = self.cluster.data().join("flags").join(part);
        let flags = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        Ok(program.iter().copied().chain(flags.lines()).map(String::from).collect())
    }

    /// Starts one that does not run.
    pub fn start(&mut self, name: &str) -> Result<()> {
        if let Some((_, child)) = self.running.iter_mut().find(|(one, _)| one == name) {
            ensure!(child.try_wait()?.is_some(), "{name} runs already");
            self.forget(name)?;
        }
        let line = self.lines.get(name).with_context(|| format!("{name} is not defined"))?;
        let (program, arguments) = line.split_first().context("an empty command line")?;
        let mut command = self.cluster.bed.command(program);
        let child = self.cluster.bed.start(name, command.args(arguments))?;
        self.running.push((name.to_owned(), child));
        Ok(())
    }

    /// SIGKILL: nothing that the program could do comes after. One that has ended by itself is as good.
    pub fn kill(&mut self, name: &str) -> Result<()> {
        self.signal(name, Signal::SIGKILL)?;
        let mut child = self.forget(name)?;
        child.wait().with_context(|| format!("wait for {name}")).map(drop)
    }

    /// SIGTERM, and until it has ended.
    pub fn stop(&mut self, name: &str) -> Result<()> {
        self.signal(name, Signal::SIGTERM)?;
        let (_, child) = self.running.iter_mut().find(|(one, _)| one == name).with_context(|| not_running(name))?;
        let what = format!("{name} ends when it is asked to");
        eventually(&what, END_TIMEOUT, || child.try_wait()?.context("it still runs"))?;
        self.forget(name).map(drop)
    }

    /// Stops all that run, the last started first, as a server may need what it was started after to end in peace; tries
    /// each and returns the first failure.
    pub fn stop_all(&mut self) -> Result<()> {
        let names: Vec<String> = self.running.iter().rev().map(|(name, _)| name.clone()).collect();
        let stopped: Vec<Result<()>> = names.iter().map(|name| self.stop(name)).collect();
        stopped.into_iter().collect()
    }

    pub fn pause(&self, name: &str) -> Result<()> {
        self.signal(name, Signal::SIGSTOP)
    }

    /// `nsenter` stops when its program is stopped, so both are woken.
    pub fn resume(&self, name: &str) -> Result<()> {
        let child = self.child(name)?;
        self.signal(name, Signal::SIGCONT)?;
        kill(pid(child), Signal::SIGCONT).with_context(|| format!("wake the {name}'s nsenter"))
    }

    /// Those that were started and have ended by themselves, with how.
    pub fn ended(&mut self) -> Result<Vec<(String, String)>> {
        let mut ended = Vec::new();
        for (name, child) in &mut self.running {
            if let Some(status) = child.try_wait()? {
                ended.push((name.clone(), status.to_string()));
            }
        }
        self.running.retain(|(name, _)| ended.iter().all(|(gone, _)| gone != name));
        Ok(ended)
    }

    fn child(&self, name: &str) -> Result<&Child> {
        let (_, child) = self.running.iter().find(|(one, _)| one == name).with_context(|| not_running(name))?;
        Ok(child)
    }

    fn forget(&mut self, name: &str) -> Result<Child> {
        let place = self.running.iter().position(|(one, _)| one == name).with_context(|| not_running(name))?;
        Ok(self.running.remove(place).1)
    }

    /// To the program itself, which is the one child of the `nsenter` that was started.
    fn signal(&self, name: &str, signal: Signal) -> Result<()> {
        let child = self.child(name)?;
        let list = format!("/proc/{0}/task/{0}/children", child.id());
        let program = eventually("nsenter has started its program", Duration::from_secs(10), || {
            let Ok(children) = std::fs::read_to_string(&list) else { return Ok(None) };
            let gone = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).is_ok_and(|s| s.contains(") Z "));
            ensure!(gone || !children.trim().is_empty(), "{name} has no process");
            Ok(children.trim().parse::<i32>().ok())
        })?;
        let Some(program) = program else { return Ok(()) };
        match kill(Pid::from_raw(program), signal) {
            Err(nix::errno::Errno::ESRCH) => Ok(()),
            sent => sent.with_context(|| format!("send {signal} to {name}")),
        }
    }
}

fn not_running(name: &str) -> String {
    format!("{name} does not run")
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed())
}
