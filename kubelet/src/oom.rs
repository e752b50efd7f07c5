//! The machine ran out of memory, and the kernel ended a process: an event about the node (`pkg/kubelet/oom`).
//!
//! Enter at [`watch`]. The kernel says it in its log, `/dev/kmsg`, in several records, which [`Reader`] puts together
//! (pure). What a container's own limit cost is no affair of the node: its status tells that.

use std::{
    fs::File,
    io::{self, Seek as _, SeekFrom},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use component::{recorder::Type, shutdown::Shutdown};
use nix::fcntl::OFlag;
use tokio::net::unix::pipe::Receiver;

use crate::reporting::Reporter;

/// The kernel gives out no longer record, and none to who has less room for it.
const RECORD_BYTES_MAX: usize = 8192;

/// Whom the kernel ended.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Kill {
    process: String,
    pid: u32,
    /// The cgroup whose limit it was; empty where all of the machine's memory was used up.
    limit_of: String,
}

impl Kill {
    fn is_of_the_machine(&self) -> bool {
        self.limit_of.trim_start_matches('/').is_empty()
    }

    fn words(&self) -> String {
        format!("System OOM encountered, victim process: {}, pid: {}", self.process, self.pid)
    }
}

/// Reads one record of the kernel's log after the other.
#[derive(Debug, Default)]
struct Reader {
    /// A story that has begun: what is known of it.
    story: Option<Kill>,
}

impl Reader {
    /// The kill that a record completes. A record is `priority,sequence,time,flags;text`, and lines of more.
    fn record(&mut self, record: &str) -> Option<Kill> {
        let (head, text) = record.split_once(';')?;
        // What programs write to the log has their facility in the upper bits, and proves nothing.
        let is_the_kernels = head.split(',').next()?.parse::<u32>().is_ok_and(|priority| priority < 8);
        let text = text.lines().next().filter(|_| is_the_kernels)?;
        if text.contains("invoked oom-killer:") {
            self.story = Some(Kill::default());
        }
        let story = self.story.as_mut()?;
        if let Some(facts) = text.split_once("oom-kill:constraint=").map(|(_, facts)| facts) {
            // Since Linux 5.0. Without `oom_memcg=` it is the machine's memory (`global_oom`).
            story.limit_of = field(facts, "oom_memcg=").unwrap_or_default().to_owned();
        } else if let Some((_, limit)) = text.split_once(" killed as a result of limit of ") {
            story.limit_of = limit.to_owned();
        } else if let Some((pid, process)) = killed(text) {
            let story = self.story.take().unwrap_or_default();
            return Some(Kill { process: process.to_owned(), pid, ..story });
        }
        None
    }
}

fn field<'a>(facts: &'a str, name: &str) -> Option<&'a str> {
    facts.split(',').find_map(|fact| fact.strip_prefix(name))
}

/// `Killed process 123 (a name) total-vm:…`, whatever stands before it.
fn killed(text: &str) -> Option<(u32, &str)> {
    let (_, rest) = text.split_once("Killed process ")?;
    let (pid, rest) = rest.split_once(" (")?;
    // A name may hold parentheses; behind it are sizes.
    let name = rest.split_once(") total-vm:").map(|(name, _)| name).or_else(|| rest.split_once(')').map(|it| it.0))?;
    Some((pid.parse().ok()?, name))
}

/// Tells of what happens from now on, until shutdown. `root` is where `/dev` is.
pub(crate) async fn watch(root: &Path, reporter: Reporter, shutdown: Shutdown) {
    let path = root.join("dev/kmsg");
    let mut log = match open(&path) {
        Ok(log) => log,
        Err(error) => {
            tracing::warn!(%error, path = %path.display(), "the kernel's log cannot be read: no events of SystemOOM");
            return;
        }
    };
    let mut reader = Reader::default();
    while let Some(record) = shutdown.run_until(next(&mut log)).await {
        match record {
            Ok(record) => {
                let kill = reader.record(&record).filter(Kill::is_of_the_machine);
                kill.iter().for_each(|kill| reporter.node(Type::Warning, "SystemOOM", kill.words()));
            }
            // Overwritten before it was read: the next read goes on with the oldest that is there.
            Err(error) if error.raw_os_error() == Some(nix::errno::Errno::EPIPE as i32) => {}
            Err(error) => {
                tracing::warn!(%error, "the kernel's log has ended: no more events of SystemOOM");
                return;
            }
        }
    }
}

/// At its end: what is there has been told, or was before this kubelet. It is waited for like a pipe, a record a read.
fn open(path: &Path) -> io::Result<Receiver> {
    let mut file = File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
    file.seek(SeekFrom::End(0))?;
    Receiver::from_file_unchecked(file)
}

async fn next(log: &mut Receiver) -> io::Result<String> {
    let mut record = vec![0; RECORD_BYTES_MAX];
    loop {
        log.readable().await?;
        // Tried until there is none: `read` would take a record that does not fill the room for the last one.
        match log.try_read(&mut record) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            read => return Ok(String::from_utf8_lossy(&record[..read?]).into_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The last kill of a log, as the kernel's records have it.
    fn last(texts: &[&str]) -> Option<Kill> {
        let mut reader = Reader::default();
        texts.iter().filter_map(|text| reader.record(&format!("3,17,123456789,-;{text}\n SUBSYSTEM=x\n"))).last()
    }

    fn kill(process: &str, pid: u32, limit_of: &str) -> Option<Kill> {
        Some(Kill { process: process.into(), pid, limit_of: limit_of.into() })
    }

    #[test]
    fn a_kill_is_put_together_from_several_records() {
        let begun = "stress invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=1000";
        let machine = "oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,\
            task_memcg=/user.slice,task=stress,pid=4242,uid=0";
        let ended = "Out of memory: Killed process 4242 (stress) total-vm:1024kB, anon-rss:512kB (x), UID:0";
        let found = last(&[begun, "CPU: 1 PID: 7 Comm: stress", machine, ended]);
        assert_eq!(found, kill("stress", 4242, ""));
        let found = found.expect("a kill");
        assert!(found.is_of_the_machine());
        assert_eq!(found.words(), "System OOM encountered, victim process: stress, pid: 4242");

        let pod = "/kubepods/burstable/podx/c";
        let limited = format!(
            "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=c,mems_allowed=0,oom_memcg={pod},\
             task_memcg={pod},task=sh,pid=9,uid=0"
        );
        let ended = "Memory cgroup out of memory: Killed process 9 (a (b) c) total-vm:1kB";
        let found = last(&[begun, &limited, ended]);
        assert_eq!(found, kill("a (b) c", 9, pod));
        assert!(!found.expect("a kill").is_of_the_machine());
    }

    #[test]
    fn older_kernels_are_understood() {
        let begun = "sh invoked oom-killer: gfp_mask=0xd0, order=0, oom_adj=0, oom_score_adj=0";
        for (limit, is_of_the_machine) in [("/kubepods/podx", false), ("/", true)] {
            let task = format!("Task in /kubepods/podx/c killed as a result of limit of {limit}");
            let found =
                last(&[begun, &task, "Killed process 19667 (evil-program2) total-vm:1460016kB"]).expect("a kill");
            assert_eq!((found.process.as_str(), found.pid), ("evil-program2", 19667));
            assert_eq!(found.is_of_the_machine(), is_of_the_machine, "{limit}");
        }
    }

    /// Writing to the log is root's; on other machines, and in containers without it, there is nothing to see.
    #[tokio::test]
    async fn the_kernels_log_is_read_from_its_end() {
        const BURST: usize = 5;
        let Ok(mut log) = open(Path::new("/dev/kmsg")) else { return println!("SKIPPED: /dev/kmsg cannot be read") };
        let at = format!("{:?}", std::time::SystemTime::now());
        // Without its newline the kernel would hold a record back, for more of it to come.
        let words = |index| format!("the kubelet's tests have written this at {at}: {index}\n");
        // Switched off, writing says that it succeeds.
        if std::fs::read_to_string("/proc/sys/kernel/printk_devkmsg").is_ok_and(|mode| mode.trim() == "off") {
            return println!("SKIPPED: /dev/kmsg is not open to programs");
        }
        // All of a burst are read, though nothing comes after them.
        if (0..=BURST).any(|index| std::fs::write("/dev/kmsg", words(index)).is_err()) {
            return println!("SKIPPED: /dev/kmsg cannot be written");
        }
        let mut reader = Reader::default();
        let seen = async {
            loop {
                let record = next(&mut log).await.expect("a record");
                assert_eq!(reader.record(&record), None, "{record}");
                if record.contains(words(BURST).trim_end()) {
                    return;
                }
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), seen).await.expect("what was just written");
    }

    #[test]
    fn what_is_no_such_story_is_none() {
        let ended = "Out of memory: Killed process 1 (x) total-vm:1kB";
        assert_eq!(last(&[ended]), None, "without a beginning");
        let begun = "x invoked oom-killer: order=0";
        assert_eq!(last(&[begun, ended, ended]), kill("x", 1, ""), "told once");
        let mut reader = Reader::default();
        assert_eq!(reader.record("3,1,1,-;x invoked oom-killer: order=0\n"), None);
        assert_eq!(reader.record(&format!("11,2,1,-;{ended}\n")), None, "a program's words");
        for odd in ["", "nothing", "x,1;Killed process 1 (x)", "3,1,1,-;Killed process x (y)"] {
            assert_eq!(reader.record(odd), None, "{odd}");
        }
        assert!(reader.record(&format!("3,3,1,-;{ended}\n")).is_some());
    }
}
