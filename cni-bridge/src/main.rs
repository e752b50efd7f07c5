//! The CNI plugins `bridge`, `host-local`, `loopback` and `portmap` in one program.
//!
//! Which plugin runs is chosen by the name the program is called by (a link), or by its first argument. The protocol is
//! the CNI specification's: the verb in `CNI_COMMAND`, the configuration on stdin, a result or an error as JSON on
//! stdout. Enter at [`run`]. Knows nothing of Kubernetes or of the runtime that calls.

mod bridge;
mod cni;
mod exec;
mod host_local;
mod loopback;
mod netlink;
mod netns;
mod packet_filter;
mod portmap;
mod sysctl;

use std::io::{Read, Write};
use std::process::ExitCode;

use cni::{Command, Failure, Request, Version};

/// The plugins this program can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plugin {
    Bridge,
    HostLocal,
    Loopback,
    Portmap,
}

impl Plugin {
    fn by_name(name: &str) -> Option<Plugin> {
        match name.rsplit('/').next().unwrap_or(name) {
            "bridge" => Some(Plugin::Bridge),
            "host-local" => Some(Plugin::HostLocal),
            "loopback" => Some(Plugin::Loopback),
            "portmap" => Some(Plugin::Portmap),
            _ => None,
        }
    }
}

fn main() -> ExitCode {
    let mut arguments = std::env::args();
    let called_as = arguments.next().unwrap_or_default();
    let Some(plugin) = Plugin::by_name(&called_as).or_else(|| arguments.next().and_then(|name| Plugin::by_name(&name)))
    else {
        return usage(&called_as);
    };
    let mut stdin = Vec::new();
    let outcome = std::io::stdin()
        .read_to_end(&mut stdin)
        .map_err(|error| Failure::io(format!("cannot read the configuration from stdin: {error}")))
        .and_then(|_| run(plugin, &stdin));
    match outcome {
        Ok(text) => answer(&text, ExitCode::SUCCESS),
        Err(failure) => answer(&failure.to_json(&cni::conf::version_text(&stdin)), ExitCode::FAILURE),
    }
}

/// One call of a plugin: reads the request from the environment, checks what the specification wants checked, and
/// gives the text to print.
fn run(plugin: Plugin, stdin: &[u8]) -> Result<String, Failure> {
    let request = Request::from_env(|name| std::env::var(name).ok(), stdin)?;
    if request.command == Command::Version {
        return Ok(cni::version::supported());
    }
    let base = cni::conf::Base::parse(stdin)?;
    let version = Version::supported(&base.cni_version)?;
    version.allows(request.command)?;
    let result = match plugin {
        Plugin::Bridge => bridge::call(&request),
        Plugin::HostLocal => host_local::call(&request),
        Plugin::Loopback => loopback::call(&request),
        Plugin::Portmap => portmap::call(&request),
    }?;
    Ok(result.map(|result| result.to_json(version)).unwrap_or_default())
}

fn answer(text: &str, code: ExitCode) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}

fn usage(called_as: &str) -> ExitCode {
    let text = format!(
        "{called_as}: CNI plugins bridge, host-local, loopback and portmap ({}).\n\
         Call it by one of these names, or with the name as first argument.\n",
        env!("CARGO_PKG_VERSION")
    );
    let _ = std::io::stderr().write_all(text.as_bytes());
    ExitCode::FAILURE
}
