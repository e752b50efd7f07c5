//! The parts by their upstream names, and how each is started: alone in its own process, or with others in one.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use component::flags::{FlagSet, Values};
use component::logging;
use component::pipes::Pipes;
use component::shutdown::Shutdown;
use tokio::task::JoinSet;

use crate::eprint_line;
use crate::part::Part;

/// How long a part that ended with an error waits before it is started again, doubling.
const RESTART_FIRST: Duration = Duration::from_millis(500);
const RESTART_MAX: Duration = Duration::from_secs(30);

/// The part that this program is called as, with its arguments: by the name of a link, or by the first argument.
pub(crate) fn called(arguments: &[String]) -> Option<(Part, &[String])> {
    let (program, rest) = arguments.split_first()?;
    let name = program.rsplit('/').next().unwrap_or(program);
    if let Some(part) = Part::by_name(name) {
        return Some((part, rest));
    }
    let (first, rest) = rest.split_first()?;
    Part::by_name(first).map(|part| (part, rest))
}

/// A part alone, as upstream's program of that name.
pub(crate) fn main(part: Part, arguments: &[String]) -> ExitCode {
    let values = match flags(part).parse(arguments) {
        Ok(values) => values,
        Err(error) => {
            error.print();
            return ExitCode::from(error.exit_code());
        }
    };
    match alone(part, &values) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprint_line(&format!("Error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn alone(part: Part, values: &Values) -> Result<()> {
    logging::start(logging::Settings::from_flags(values)?);
    values.warn();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.context("start the asynchronous runtime")?.block_on(async {
        let shutdown = Shutdown::from_signals().context("listen for signals")?;
        run(part, values, shutdown, Pipes::default()).await
    })
}

/// Starts a part as a task among others. One that ends with an error, or panics, is started again: in one process
/// there is nobody else to do it. `pipes` are the process's: by them it reaches the API server, or is that.
pub(crate) fn spawn(
    tasks: &mut JoinSet<()>,
    part: Part,
    arguments: Vec<String>,
    shutdown: &Shutdown,
    pipes: &Pipes,
) -> Result<()> {
    let values = flags(part).parse(arguments).with_context(|| format!("the flags of the {}", part.name()))?;
    values.warn();
    let (shutdown, pipes) = (shutdown.clone(), pipes.clone());
    tasks.spawn(async move {
        let mut delay = RESTART_FIRST;
        while !shutdown.is_triggered() {
            let (task_values, task_shutdown, task_pipes) = (values.clone(), shutdown.child(), pipes.clone());
            match tokio::spawn(async move { run(part, &task_values, task_shutdown, task_pipes).await }).await {
                Ok(Ok(())) if shutdown.is_triggered() => return,
                Ok(Ok(())) => tracing::error!(part = part.name(), "ended, starting again"),
                Ok(Err(error)) => tracing::error!(part = part.name(), "failed, starting again: {error:#}"),
                Err(panic) => tracing::error!(part = part.name(), "panicked, starting again: {panic}"),
            }
            let _ = shutdown.run_until(tokio::time::sleep(delay)).await;
            delay = (delay * 2).min(RESTART_MAX);
        }
    });
    Ok(())
}

fn flags(part: Part) -> FlagSet {
    match part {
        Part::KubeApiserver => apiserver::flags(),
        Part::KubeControllerManager => controllers::flags(),
        Part::KubeScheduler => scheduler::flags(),
        Part::Kubelet => kubelet::flags(),
        Part::KubeProxy => proxy::flags(),
        Part::SkiffDns => dns::flags(),
        Part::SkiffRouter => router::flags(),
    }
}

/// Runs a part with real time, real randomness and the ports that its flags name.
async fn run(part: Part, values: &Values, shutdown: Shutdown, pipes: Pipes) -> Result<()> {
    match part {
        Part::KubeApiserver => {
            let options = apiserver::Options::from_flags(values)?;
            apiserver::run(options, apiserver::Seams { pipes, ..apiserver::Seams::system(shutdown) }).await?;
        }
        Part::KubeControllerManager => {
            let options = controllers::Options::from_flags(values)?;
            controllers::run(options, controllers::Seams { pipes, ..controllers::Seams::system(shutdown) }).await?;
        }
        Part::KubeScheduler => {
            let options = scheduler::Options::from_flags(values.clone())?;
            scheduler::run(options, scheduler::Seams { pipes, ..scheduler::Seams::system(shutdown) }).await?;
        }
        Part::Kubelet => {
            let options = kubelet::Options::from_flags(values)?;
            kubelet::run(options, kubelet::Seams { pipes, ..kubelet::Seams::system(shutdown) }).await?;
        }
        Part::KubeProxy => {
            let options = proxy::Options::from_flags(values)?;
            proxy::run(options, proxy::Seams { pipes, ..proxy::Seams::system(shutdown) }).await?;
        }
        Part::SkiffDns => {
            let options = dns::Options::from_flags(values)?;
            dns::run(options, dns::Seams { pipes, ..dns::Seams::system(shutdown) }).await?;
        }
        Part::SkiffRouter => {
            let options = router::Options::from_flags(values)?;
            router::run(options, router::Seams { pipes, ..router::Seams::system(shutdown) }).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn called_as(line: &str) -> Option<(Part, usize)> {
        let words: Vec<String> = line.split_whitespace().map(String::from).collect();
        called(&words).map(|(part, rest)| (part, rest.len()))
    }

    #[test]
    fn a_part_is_named_by_the_program_or_the_first_argument() {
        let cases = [
            ("/usr/bin/kubelet --v=2", Some((Part::Kubelet, 1))),
            ("kube-proxy", Some((Part::KubeProxy, 0))),
            ("./skiff kube-apiserver --help x", Some((Part::KubeApiserver, 2))),
            ("skiff up", None),
            ("skiff", None),
        ];
        for (line, expected) in cases {
            assert_eq!(called_as(line), expected, "{line}");
        }
    }
}
