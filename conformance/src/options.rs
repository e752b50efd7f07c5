//! The command line.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use clap::{Args, Parser, Subcommand};
use regex::Regex;

use crate::catalogue::{self, Entry};
use crate::cluster::Images;

/// Runs conformance cases against any cluster, through its API and kubectl.
#[derive(Debug, Parser)]
#[command(
    name = "skiff-conformance",
    after_help = "\
Exit codes: 0 all cases passed, 1 cases failed, 2 no cluster was reached, 3 the command line makes no sense."
)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print the cases and run nothing.
    List(List),
    /// Run cases.
    Run(Box<Run>),
    /// Show that cases notice faults: run some behind a proxy that spoils one thing each, and see that they fail.
    Breaks(Box<Breaks>),
    /// Print what is claimed, as Markdown: what a result's passing cases prove, or what all are to prove when no result is given.
    Claims(Claims),
}

/// Which cases; all when nothing is given. A case has to fit every option that is given.
#[derive(Debug, Args)]
pub(crate) struct Filter {
    /// Cases whose name (`group/case`) matches one of these regular expressions.
    #[arg(value_name = "REGEX")]
    pub(crate) name: Vec<String>,
    /// Cases of this area: api, kinds, deletion, workloads, pods, volumes, kubectl, network, scheduling; repeat for more.
    #[arg(long, value_name = "AREA")]
    pub(crate) area: Vec<String>,
    /// Cases with this tag: quick, serial, slow, two-nodes; repeat for more.
    #[arg(long, value_name = "TAG")]
    pub(crate) tag: Vec<String>,
    /// Cases without this tag; repeat for more.
    #[arg(long, value_name = "TAG")]
    pub(crate) without: Vec<String>,
    /// Cases whose capability contains this text, in any case of letters.
    #[arg(long, value_name = "TEXT")]
    pub(crate) capability: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    pub(crate) filter: Filter,
    /// As JSON: name, area, capability, claim and tags of each.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Claims {
    /// A file that `run --json` wrote.
    #[arg(value_name = "FILE")]
    pub(crate) results: Option<PathBuf>,
    /// Without results: cases that are known to fail.
    #[arg(long, value_name = "FILE")]
    pub(crate) known: Option<PathBuf>,
}

/// A cluster, and what is needed to run cases against it.
#[derive(Debug, Args)]
pub(crate) struct Target {
    /// The cluster, with the rights of an administrator [default: kubectl's own choice].
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The kubectl that a person would use.
    #[arg(long, value_name = "FILE", default_value = "kubectl")]
    pub(crate) kubectl: PathBuf,
    /// Cases at a time.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) parallel: u16,
    /// Seconds that one case may take; a slow one three times as many.
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) timeout: u64,
    /// Put in front of the images' names, such as `registry.local:5000/`.
    #[arg(long, value_name = "PREFIX", default_value = "")]
    registry: String,
    /// An image with nginx and a shell.
    #[arg(long, value_name = "IMAGE", default_value = "nginx")]
    image_nginx: String,
    /// An image with busybox, its udpsvd too.
    #[arg(long, value_name = "IMAGE", default_value = "busybox")]
    image_busybox: String,
    /// An image with curl (that speaks tftp), getent and a shell.
    #[arg(long, value_name = "IMAGE", default_value = "curlimages/curl")]
    image_tools: String,
}

impl Target {
    pub(crate) fn images(&self) -> Images {
        let image = |name: &str| format!("{}{name}", self.registry);
        Images { nginx: image(&self.image_nginx), busybox: image(&self.image_busybox), tools: image(&self.image_tools) }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Breaks {
    /// Faults of the cases whose name (`group/case`) matches one of these regular expressions.
    #[arg(value_name = "REGEX")]
    pub(crate) name: Vec<String>,
    #[command(flatten)]
    pub(crate) target: Target,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) filter: Filter,
    #[command(flatten)]
    pub(crate) target: Target,
    /// Seconds to wait for an API server that answers and a node that is Ready.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub(crate) wait: u64,
    /// Write results as JUnit's XML.
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,
    /// Write results as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Cases that are known to fail on this cluster, a line each: `group/case: reason`. One that passes is a failure.
    #[arg(long, value_name = "FILE")]
    pub(crate) known: Option<PathBuf>,
}

pub(crate) fn patterns(texts: &[String]) -> Result<Vec<Regex>> {
    texts.iter().map(|text| Regex::new(text).with_context(|| format!("no regex: {text}"))).collect()
}

impl Filter {
    /// The cases that fit; it is an error if there are none.
    pub(crate) fn select(&self) -> Result<Vec<Entry>> {
        let patterns = patterns(&self.name)?;
        let capability = self.capability.as_ref().map(|text| text.to_lowercase());
        let tagged = |entry: &Entry, tag: &String| entry.case.tags.iter().any(|of| of.name() == tag);
        let fits = |entry: &Entry| {
            let id = entry.id();
            (patterns.is_empty() || patterns.iter().any(|pattern| pattern.is_match(&id)))
                && (self.area.is_empty() || self.area.iter().any(|area| entry.group.area.name() == area))
                && self.tag.iter().all(|tag| tagged(entry, tag))
                && !self.without.iter().any(|tag| tagged(entry, tag))
                && capability.as_ref().is_none_or(|text| entry.group.capability.to_lowercase().contains(text))
        };
        let entries: Vec<Entry> = catalogue::all().into_iter().filter(fits).collect();
        ensure!(!entries.is_empty(), "no case fits; see skiff-conformance list");
        Ok(entries)
    }
}
