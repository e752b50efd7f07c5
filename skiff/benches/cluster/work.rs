//! The flow's times: create, scale, expose, delete, each beside what the runtime alone takes for the same containers.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use testbed::eventually;

use crate::share::Runtime;
use crate::{Place, row, seconds};

const DEADLINE: Duration = Duration::from_secs(120);
const ROUNDS: usize = 10;

pub(crate) fn all(place: &Place) -> Result<()> {
    warm_up(place)?;
    let runtime = Runtime::connect(&place.bed.folder().join("data/containerd/containerd.sock"))?;
    let one = median((0..ROUNDS).map(|_| runtime.start_and_stop(1)).collect::<Result<Vec<_>>>()?.into_iter());
    let many = median((0..ROUNDS).map(|_| runtime.start_and_stop(19)).collect::<Result<Vec<_>>>()?.into_iter());
    let rounds = (0..ROUNDS).map(|_| round(place)).collect::<Result<Vec<_>>>()?;
    let of = |pick: fn(&Round) -> Duration| median(rounds.iter().map(|round| (pick(round), Duration::ZERO))).0;
    let beside = |share: Duration| format!("runtime's share {}", seconds(share));
    row("create deployment to available", &seconds(of(|round| round.create)), &beside(one.0));
    row("scale 1 to 20, all ready", &seconds(of(|round| round.scale)), &beside(many.0));
    row("expose to first answer", &seconds(of(|round| round.expose)), "goal 0.1 s");
    row("delete 20 pods, all gone", &seconds(of(|round| round.delete)), &beside(many.1));
    Ok(())
}

struct Round {
    create: Duration,
    scale: Duration,
    expose: Duration,
    delete: Duration,
}

/// The image is pulled once before anything is measured.
fn warm_up(place: &Place) -> Result<()> {
    place.kubectl(&["create", "deployment", "warm", "--image=nginx"])?;
    place.kubectl(&["rollout", "status", "deployment/warm", "--timeout=120s"])?;
    place.kubectl(&["delete", "deployment", "warm", "--cascade=foreground"]).map(|_| ())
}

const DEPLOYMENT: &str = r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"bench"},"spec":{
  "replicas":1,"selector":{"matchLabels":{"app":"bench"}},"template":{"metadata":{"labels":{"app":"bench"}},
  "spec":{"terminationGracePeriodSeconds":0,"containers":[{"name":"web","image":"nginx","imagePullPolicy":"IfNotPresent"}]}}}}"#;

fn round(place: &Place) -> Result<Round> {
    let file = place.bed.folder().join("bench.json");
    std::fs::write(&file, DEPLOYMENT)?;
    let create = timed(|| {
        place.kubectl(&["create", "-f", &file.display().to_string()])?;
        place.kubectl(&["wait", "--for=condition=Available", "deployment/bench", "--timeout=120s"])
    })?;
    let scale = timed(|| {
        place.kubectl(&["scale", "deployment/bench", "--replicas=20"])?;
        place.kubectl(&["wait", "--for=jsonpath={.status.readyReplicas}=20", "deployment/bench", "--timeout=120s"])
    })?;
    let expose = timed(|| {
        place.kubectl(&["expose", "deployment", "bench", "--port=80"])?;
        let address = place.kubectl(&["get", "service", "bench", "-o", "jsonpath={.spec.clusterIP}"])?;
        eventually("the Service answers", DEADLINE, || {
            place.bed.run(&["curl", "--silent", "--fail", "--max-time", "1", &format!("http://{address}")])
        })
    })?;
    let delete = timed(|| {
        place.kubectl(&["delete", "deployment,service", "bench"])?;
        place.kubectl(&["wait", "--for=delete", "pods", "-l", "app=bench", "--timeout=120s"])
    })?;
    let left = place.kubectl(&["get", "pods", "-l", "app=bench", "-o", "name"])?;
    ensure!(left.is_empty(), "{left}");
    Ok(Round { create, scale, expose, delete })
}

/// kubectl's own start, about 0.1 s a call, is part of what is measured.
fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<Duration> {
    let start = Instant::now();
    work().context("a step of the bench")?;
    Ok(start.elapsed())
}

/// The median of each side.
fn median(pairs: impl Iterator<Item = (Duration, Duration)>) -> (Duration, Duration) {
    let (mut first, mut second): (Vec<_>, Vec<_>) = pairs.unzip();
    first.sort_unstable();
    second.sort_unstable();
    (first[first.len() / 2], second[second.len() / 2])
}
