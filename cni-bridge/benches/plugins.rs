//! How long a pod's network takes, beside Debian's plugins in the same run: part of `make bench`.

#[path = "../tests/privileged/world.rs"]
mod world;

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use world::{Plugins, World, call, result};

const ROUNDS: usize = 40;

const WALKTHROUGH: &str = r#"{"cniVersion":"0.3.1","name":"kube","type":"bridge","bridge":"cni0","isDefaultGateway":true,
    "ipMasq":true,"hairpinMode":true,"ipam":{"type":"host-local","subnet":"10.1.0.0/16","dataDir":"DATA"}}"#;
const PLAIN: &str = r#"{"cniVersion":"1.0.0","name":"plain","type":"bridge","bridge":"cni0","isDefaultGateway":true,
    "hairpinMode":true,"ipam":{"type":"host-local","subnet":"10.1.0.0/16","dataDir":"DATA"}}"#;
const DUAL: &str = r#"{"cniVersion":"1.0.0","name":"dual","type":"bridge","bridge":"cni0","isDefaultGateway":true,
    "ipMasq":true,"ipam":{"type":"host-local","dataDir":"DATA","ranges":[[{"subnet":"10.1.0.0/16"}],
    [{"subnet":"fd00:1::/64"}]]}}"#;

const CASES: [(&str, &str, bool); 4] = [
    ("bridge and host-local", PLAIN, false),
    ("with ipMasq (the walkthrough's file)", WALKTHROUGH, false),
    ("with ipMasq, both families", DUAL, false),
    ("with ipMasq and a host port", WALKTHROUGH, true),
];

fn main() {
    println!("{:<52} {:>16}   BESIDE", "WHAT", "MEASURED");
    let Some(debian) = Plugins::debian() else { return };
    for (what, conf, has_port) in CASES {
        let theirs = debian.clone();
        let theirs = in_world(move |world| times(&theirs, &world, conf, has_port));
        let ours = in_world(move |world| times(&Plugins::ours(world.folder.path()), &world, conf, has_port));
        for (verb, ours, theirs) in [("ADD", ours.0, theirs.0), ("DEL", ours.1, theirs.1)] {
            let goal = theirs.as_secs_f64() / if verb == "ADD" { 2.0 } else { 1.0 };
            row(&format!("CNI {verb}, {what}"), ours, goal, theirs);
        }
    }
}

fn row(what: &str, ours: Duration, goal_seconds: f64, theirs: Duration) {
    let ms = |seconds: f64| format!("{:.1} ms", seconds * 1000.0);
    let (ours, theirs) = (ms(ours.as_secs_f64()), ms(theirs.as_secs_f64()));
    println!("{what:<52} {ours:>16}   goal {} (Debian's {theirs})", ms(goal_seconds));
}

fn in_world<T: Send + 'static>(work: impl FnOnce(World) -> T + Send + 'static) -> T {
    thread::spawn(|| work(World::enter())).join().expect("a measurement")
}

/// Medians of adding and deleting: pods come one by one, and go when all are there.
fn times(plugins: &Plugins, world: &World, conf: &str, has_port: bool) -> (Duration, Duration) {
    let conf = world.conf(conf);
    let (mut adds, mut dels) = (Vec::new(), Vec::new());
    let mut results = Vec::new();
    for at in 0..ROUNDS {
        let container = container(at);
        world.container(&container);
        let (output, mut taken) = timed(|| result(&call(plugins, "bridge", "ADD", &container, &conf)));
        if has_port {
            let conf = port_conf(at, &output);
            taken += timed(|| result(&call(plugins, "portmap", "ADD", &container, &conf))).1;
        }
        adds.push(taken);
        results.push(output);
    }
    for (at, output) in results.iter().enumerate() {
        let container = container(at);
        let mut taken = Duration::ZERO;
        if has_port {
            let conf = port_conf(at, output);
            taken = timed(|| result(&call(plugins, "portmap", "DEL", &container, &conf))).1;
        }
        taken += timed(|| result(&call(plugins, "bridge", "DEL", &container, &conf))).1;
        dels.push(taken);
    }
    (median(adds), median(dels))
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let result = work();
    (result, start.elapsed())
}

fn container(at: usize) -> String {
    format!("c{at}")
}

fn port_conf(at: usize, previous: &Value) -> String {
    let mapping = json!({"hostPort": 20_000 + at, "containerPort": 80, "protocol": "tcp"});
    let runtime = json!({"portMappings": [mapping]});
    json!({"cniVersion": "0.3.1", "name": "kube", "type": "portmap", "prevResult": previous, "runtimeConfig": runtime})
        .to_string()
}

fn median(mut taken: Vec<Duration>) -> Duration {
    taken.sort();
    taken[taken.len() / 2]
}
