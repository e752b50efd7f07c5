//! What the kernel counts of a process: memory of `/proc/PID/status`, processor time of `/proc/PID/stat`.

use std::ops::Sub;
use std::time::Duration;

use anyhow::{Context as _, Result};

const KIB_PER_MIB: f64 = 1024.0;
/// As `/proc/PID/stat` counts CPU time: USER_HZ, fixed in the kernel's ABI.
const TICKS_PER_SECOND: f64 = 100.0;

/// A field that is counted in kB, such as `VmRSS`, in MiB. `process` is a PID, or `self`.
///
/// # Errors
/// A process that is not there, a field that it has not.
pub fn memory_mib(process: &str, field: &str) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))
        .with_context(|| format!("read the status of process {process}"))?;
    field_mib(&status, field)
}

/// The same of the text of a `status` or `smaps_rollup`.
///
/// # Errors
/// A field that is not there, or not a number of kB.
pub fn field_mib(text: &str, field: &str) -> Result<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let line = line.with_context(|| format!("no {field}"))?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse().with_context(|| format!("{field} in kB"))?;
    Ok(kib / KIB_PER_MIB)
}

/// What a process used of the processor, in ticks of 10 ms: itself, and by programs that it ran and waited for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cpu {
    pub own: Duration,
    pub children: Duration,
}

impl Cpu {
    /// Of a PID, or `self`.
    ///
    /// # Errors
    /// A process that is not there.
    pub fn of(process: &str) -> Result<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))
            .with_context(|| format!("read the times of process {process}"))?;
        Self::parse(&stat)
    }

    /// Of the text of a `stat`, from another process namespace perhaps.
    ///
    /// # Errors
    /// Text that is no `stat`.
    pub fn parse(stat: &str) -> Result<Self> {
        // The name, in parentheses, may hold anything; what follows it has fixed places.
        let (_, fields) = stat.rsplit_once(')').context("no name in stat")?;
        let ticks: Vec<f64> = fields.split_whitespace().skip(11).take(4).map_while(|it| it.parse().ok()).collect();
        let &[user, system, children_user, children_system] = ticks.as_slice() else {
            anyhow::bail!("no times in stat")
        };
        let time = |ticks: f64| Duration::from_secs_f64(ticks / TICKS_PER_SECOND);
        Ok(Self { own: time(user + system), children: time(children_user + children_system) })
    }
}

impl Sub for Cpu {
    type Output = Cpu;

    fn sub(self, before: Cpu) -> Cpu {
        Cpu { own: self.own - before.own, children: self.children - before.children }
    }
}

#[test]
fn the_kernels_texts_are_read() {
    assert_eq!(field_mib("VmHWM:\t    4096 kB\nVmRSS:\t    2048 kB\n", "VmRSS").unwrap(), 2.0);
    assert!(field_mib("VmRSS: 2048 kB", "Pss").is_err());
    let stat = "7 (a b) c) S 1 7 7 0 -1 4194560 100 0 0 0 150 50 30 20 20 0 1 0 1 1 1";
    let cpu = Cpu::parse(stat).unwrap();
    assert_eq!((cpu.own, cpu.children), (Duration::from_secs(2), Duration::from_millis(500)));
    assert!(Cpu::parse("7 (x) S 1").is_err());
    assert!(memory_mib("self", "VmRSS").unwrap() > 0.0);
}
