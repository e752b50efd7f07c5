//! How long a pod's network takes, beside Debian's plugins in the same run: part of `make bench`.

#[path = "../tests/privileged/world.rs"]
mod world;

use std::thread;
use std::time::{Duration, Instant};

use figures::{Figure, Sheet, samples};
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
    let mut sheet = Sheet::new("plugins");
    let Some(debian) = Plugins::debian() else { return };
    for (what, conf, has_port) in CASES {
        let theirs = debian.clone();
        let theirs = in_world(move |world| times(&theirs, &world, conf, has_port));
        let ours = in_world(move |world| times(&Plugins::ours(world.folder.path()), &world, conf, has_port));
        for (verb, part, ours, theirs) in [("ADD", 2.0, ours.0, theirs.0), ("DEL", 1.0, ours.1, theirs.1)] {
            let figure = Figure::milliseconds(format!("CNI {verb}, {what}"), &ours);
            let theirs = samples::in_milliseconds(&theirs);
            sheet.add(figure.most(samples::median(&theirs) / part).beside("Debian's", theirs));
        }
    }
    sheet.write(figures::folder!().as_ref()).expect("write the sheet");
}

fn in_world<T: Send + 'static>(work: impl FnOnce(World) -> T + Send + 'static) -> T {
    thread::spawn(|| work(World::enter())).join().expect("a measurement")
}

/// Of adding and of deleting: pods come one by one, and go when all are there.
fn times(plugins: &Plugins, world: &World, conf: &str, has_port: bool) -> (Vec<Duration>, Vec<Duration>) {
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
    (adds, dels)
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
