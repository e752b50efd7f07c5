//! What is answered, over a folder of logs and a program that speaks as `journalctl` does.

use std::{fs, os::unix::fs::symlink};

use component::testing::write_program;
use http_body_util::BodyExt as _;

use super::*;

struct Bed {
    folder: tempfile::TempDir,
    logs: NodeLogs,
}

impl Bed {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let logs = NodeLogs { folder: folder.path().join("log"), journal: Some(folder.path().join("journalctl")) };
        fs::create_dir_all(logs.folder.join("pods")).expect("folders");
        fs::create_dir(logs.folder.join("deep")).expect("a folder");
        fs::write(logs.folder.join("kubelet.log"), "hello\n").expect("a file");
        fs::write(logs.folder.join("deep/deep.log"), "far down\n").expect("a file");
        symlink("/etc/passwd", logs.folder.join("out")).expect("a link");
        let bed = Self { folder, logs };
        bed.journal("if [ \"$1\" = --field ]; then echo cron.service; else echo \"asked: $*\"; echo trouble >&2; fi");
        bed
    }

    /// What `journalctl` is.
    fn journal(&self, script: &str) {
        write_program(&self.folder.path().join("journalctl"), &format!("#!/bin/sh\n{script}\n"));
    }

    async fn get(&self, path: &str, query: &str) -> (u16, String) {
        let answer = answer(&self.logs, path, &Query::parse(query)).await;
        let status = answer.status().as_u16();
        let bytes = answer.into_body().collect().await.expect("a body").to_bytes();
        (status, String::from_utf8_lossy(&bytes).into_owned())
    }
}

#[tokio::test]
async fn files_and_folders_are_shown_and_nothing_outside() {
    let bed = Bed::new();
    assert_eq!(bed.get("kubelet.log", "").await, (200, "hello\n".to_owned()));
    let (_, list) = bed.get("", "").await;
    assert!(list.contains("<a href=\"pods/\">pods/</a>"), "{list}");
    assert_eq!(bed.get("nothing", "").await.0, 404);
    assert_eq!(bed.get("out", "").await.0, 403);
    assert_eq!(bed.get("../../etc/passwd", "").await.0, 404, "steps out are no steps");
}

#[tokio::test]
async fn services_are_found_in_the_journal_or_in_files() {
    let bed = Bed::new();
    let journal = "asked: --utc --no-pager --output=short-precise --unit=cron\ntrouble\n";
    let with_lines = "asked: --utc --no-pager --output=short-precise --pager-end --lines=2 --unit=cron\ntrouble\n";
    for (query, code, wanted) in [
        ("query=cron", 200, journal),
        ("query=cron&tailLines=2", 200, with_lines),
        ("query=kubelet", 200, "hello\n"),
        ("query=kubelet.log", 200, "hello\n"),
        ("query=/kubelet.log", 200, "hello\n"),
        ("query=deep", 200, "far down\n"),
        ("query=none", 200, "\nlog not found for none\n"),
        (
            "query=kubelet&tailLines=2",
            200,
            "\noptions present and query resolved to log files for [kubelet]\ntry without specifying options\n",
        ),
        ("query=", 400, "query: Invalid value: [\"\"]: query cannot be empty\n"),
        ("query=a%3Bb", 406, "query: Invalid value: \"a;b\": input contains unsupported characters\n"),
        ("query=/out", 406, ""),
    ] {
        let (status, text) = bed.get("", query).await;
        assert!(status == code && (text == wanted || wanted.is_empty()), "{query}: {status} {text}");
    }
    let (_, out) = bed.get("", "query=out").await;
    assert!(out.starts_with("\nerror getting log for out: "), "{out}");
    let (_, both) = bed.get("", "query=cron&query=deep").await;
    assert_eq!(both, format!("{journal}far down\n"));
}

#[tokio::test]
async fn without_a_journal_only_files_are_looked_at() {
    let mut bed = Bed::new();
    fs::remove_file(bed.folder.path().join("journalctl")).expect("it was there");
    assert_eq!(bed.get("", "query=kubelet").await, (200, "hello\n".to_owned()));
    assert_eq!(bed.get("", "query=cron").await, (200, "\nlog not found for cron\n".to_owned()));
    bed.logs.journal = None;
    let (status, list) = bed.get("", "query=kubelet").await;
    assert!(status == 200 && list.contains("kubelet.log"), "queries are off, the folder is shown: {list}");
}
