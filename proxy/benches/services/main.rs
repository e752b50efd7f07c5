//! What kube-proxy costs with many Services, in either mode: part of `make bench`.
//!
//! 10,000 Services (or `SERVICES`) with 5 endpoints each. The proxy is a process of its own (this program again), its
//! API server one in memory; both are on an isolated host, and what is asked is asked with packets. Fails only when
//! something does not work.

#[path = "../../tests/traffic/net.rs"]
mod net;
mod objects;
mod process;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use component::testing::FakeApi;
use figures::samples::in_milliseconds;
use figures::{Figure, Sheet};
use objects::{IP, NAMESPACE, put_endpoint, put_service};
use process::{Proxy, bare_restore};

/// One change is measured so often.
const ROUNDS: u32 = 20;
/// Between two changes, longer than the proxy lets changes gather.
const PAUSE: Duration = Duration::from_millis(300);
const DEADLINE: Duration = Duration::from_secs(180);
/// A lost packet is sent again only after a second; asking anew sees the rules sooner.
const PATIENCE: Duration = Duration::from_millis(20);
/// In which a change is written for certain, where nobody asks for it.
const SETTLED: Duration = Duration::from_millis(900);

fn main() {
    if std::env::var_os(process::AS_PROXY).is_some() {
        return process::be_proxy();
    }
    let mut sheet = Sheet::new("services");
    for mode in ["iptables", "nftables"] {
        net::isolated(move || measure(mode)).into_iter().for_each(|figure| sheet.add(figure));
    }
    sheet.write(figures::folder!().as_ref()).expect("write the sheet");
}

fn service_count() -> usize {
    std::env::var("SERVICES").ok().and_then(|text| text.parse().ok()).unwrap_or(10_000)
}

async fn measure(mode: &'static str) -> Vec<Figure> {
    let stop = Arc::new(AtomicBool::new(false));
    net::pod("a", "10.1.1.2", &stop);
    net::pod("b", "10.1.1.3", &stop);
    let (api, count) = (FakeApi::new(), service_count());
    objects::fill(&api, count);
    put_service(&api, NAMESPACE, "web", IP);
    put_endpoint(&api, "web", "10.1.1.2");
    let server = process::serve(&api).await;
    let start = Instant::now();
    let proxy = Proxy::start(mode, &server);
    until(IP, "a").await;
    let (loaded, cpu) = (start.elapsed(), proxy.cpu());
    let loading = format!("{mode}: {count} Services x 5 endpoints");
    let mut all = vec![
        Figure::seconds(format!("{loading}, to first answer"), &[loaded]).most(10.0),
        upstreams(mode, Figure::seconds(format!("{loading}, CPU of the proxy"), &[cpu.own]), &[57.0]),
        Figure::seconds(format!("{loading}, CPU of its tool"), &[cpu.children]),
    ];
    all.extend(one_change(mode, &api, &proxy).await);
    all.push(one_more(mode, &api).await);
    let (resident, peak) = proxy.memory_mib();
    let memory = Figure::new(format!("{mode}: memory of the proxy"), "MiB", [resident]).most(150.0);
    all.push(upstreams(mode, memory, &[150.0]));
    all.push(Figure::new(format!("{mode}: memory of the proxy at most"), "MiB", [peak]));
    stop.store(true, Ordering::Relaxed);
    all
}

/// Beside upstream's kube-proxy v1.36.2 on a machine of two cores, with half the Services; measured once, not in this run.
fn upstreams(mode: &str, figure: Figure, samples: &[f64]) -> Figure {
    if mode == "iptables" { figure.beside("upstream with 5,000 Services, once", samples) } else { figure }
}

/// The Service's only endpoint moves from one pod to the other, and back.
async fn one_change(mode: &str, api: &FakeApi, proxy: &Proxy) -> Vec<Figure> {
    let mut taken = Vec::new();
    for at in 0..ROUNDS {
        tokio::time::sleep(PAUSE).await;
        let start = Instant::now();
        let name = move_endpoint(api, at);
        until(IP, name).await;
        taken.push(start.elapsed());
    }
    let (own, tool) = cpu_of_a_change(api, proxy).await;
    let changed = Figure::milliseconds(format!("{mode}: one Service changed, API to rules"), &taken);
    if mode == "nftables" {
        let cpu = Figure::milliseconds("nftables: one Service changed, CPU", &[own + tool]);
        return vec![changed.most(50.0), cpu.most(10.0)];
    }
    let (bare_time, bare_cpu) = bare_restore(ROUNDS, SETTLED);
    let above = Figure::milliseconds(
        "iptables: one Service changed, CPU above the bare tool",
        &[(own + tool).saturating_sub(bare_cpu)],
    );
    vec![
        upstreams(
            mode,
            changed.most(200.0).beside("the bare restore tool", in_milliseconds(&[bare_time])),
            &[1000.0, 1500.0],
        ),
        upstreams(mode, above.most(5.0), &[280.0, 370.0]),
        Figure::milliseconds("iptables: one Service changed, CPU of the proxy", &[own]),
        Figure::milliseconds("iptables: one Service changed, CPU of its tool", &[tool])
            .beside("bare", in_milliseconds(&[bare_cpu])),
    ]
}

/// The pod that answers then.
fn move_endpoint(api: &FakeApi, round: u32) -> &'static str {
    let (ip, name) = if round.is_multiple_of(2) { ("10.1.1.3", "b") } else { ("10.1.1.2", "a") };
    put_endpoint(api, "web", ip);
    name
}

/// The proxy's and its tool's. Nobody asks while they work: a packet walks the rules of all Services, and does so on the
/// time of whatever runs there, the tool's too. The bare tool has as much peace.
async fn cpu_of_a_change(api: &FakeApi, proxy: &Proxy) -> (Duration, Duration) {
    let before = proxy.cpu();
    for at in 0..ROUNDS {
        let name = move_endpoint(api, at);
        tokio::time::sleep(SETTLED).await;
        until(IP, name).await;
    }
    let used = proxy.cpu() - before;
    (used.own / ROUNDS, used.children / ROUNDS)
}

/// A Service is created whose endpoint is known already.
async fn one_more(mode: &str, api: &FakeApi) -> Figure {
    let mut taken = Vec::new();
    for at in 0..ROUNDS {
        let (name, ip) = (format!("new-{at}"), format!("10.96.1.{}", at + 1));
        put_endpoint(api, &name, "10.1.1.2");
        tokio::time::sleep(PAUSE).await;
        let start = Instant::now();
        put_service(api, NAMESPACE, &name, &ip);
        until(&ip, "a").await;
        taken.push(start.elapsed());
    }
    Figure::milliseconds(format!("{mode}: Service created, to its first answer"), &taken).most(100.0)
}

/// Waits until a Service's address is answered by a pod.
async fn until(ip: &str, name: &str) {
    let (start, to) = (Instant::now(), format!("{ip}:80"));
    loop {
        let seen = net::ask_for("host", &to, PATIENCE).await;
        if seen == name {
            return;
        }
        assert!(start.elapsed() < DEADLINE, "{to}: {seen} instead of {name}");
    }
}
