//! What kube-proxy costs with many Services, in either mode: part of `make bench`.
//!
//! 10,000 Services (or `SERVICES`) with 5 endpoints each. The proxy is a process of its own (this program again), its
//! API server one in memory; both are on an isolated host, and what is asked is asked with packets. Prints a table and
//! fails only when something does not work.

#[path = "../../tests/traffic/net.rs"]
mod net;
mod objects;
mod process;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use component::testing::FakeApi;
use objects::{IP, NAMESPACE, put_endpoint, put_service};
use process::{Cpu, Proxy, bare_restore};

/// One change is measured so often.
const ROUNDS: u32 = 20;
/// Between two changes, longer than the proxy lets changes gather.
const PAUSE: Duration = Duration::from_millis(300);
const DEADLINE: Duration = Duration::from_secs(180);
/// A lost packet is sent again only after a second; asking anew sees the rules sooner.
const PATIENCE: Duration = Duration::from_millis(20);

fn main() {
    if std::env::var_os(process::AS_PROXY).is_some() {
        return process::be_proxy();
    }
    row("WHAT", "MEASURED", "BESIDE");
    for mode in ["iptables", "nftables"] {
        net::isolated(move || measure(mode));
    }
}

fn row(what: &str, measured: &str, beside: &str) {
    println!("{what:<54} {measured:>14}   {beside}");
}

fn seconds(duration: Duration) -> String {
    format!("{:.3} s", duration.as_secs_f64())
}

fn milliseconds(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}

fn service_count() -> usize {
    std::env::var("SERVICES").ok().and_then(|text| text.parse().ok()).unwrap_or(10_000)
}

async fn measure(mode: &'static str) {
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
    let beside = format!(
        "goal 10 s (CPU: proxy {}, its tool {}{})",
        seconds(cpu.own),
        seconds(cpu.tools),
        upstreams(mode, "57 s of CPU")
    );
    row(&format!("{mode}: {count} Services x 5 endpoints, to first answer"), &seconds(loaded), &beside);
    one_change(mode, &api, &proxy).await;
    one_more(mode, &api).await;
    let (resident, peak) = proxy.memory_mib();
    row(
        &format!("{mode}: memory of the proxy"),
        &format!("{resident} MiB"),
        &format!("goal 150 MiB (at most {peak} MiB{})", upstreams(mode, "150 MiB")),
    );
    stop.store(true, Ordering::Relaxed);
}

/// Upstream's kube-proxy v1.36.2 on a machine of two cores, with half the Services; measured once, not in this run.
fn upstreams(mode: &str, figure: &str) -> String {
    if mode == "iptables" { format!("; upstream with 5,000 Services: {figure}") } else { String::new() }
}

/// The Service's only endpoint moves from one pod to the other, and back.
async fn one_change(mode: &str, api: &FakeApi, proxy: &Proxy) {
    let before = proxy.cpu();
    let mut taken = Vec::new();
    for at in 0..ROUNDS {
        tokio::time::sleep(PAUSE).await;
        let (ip, name) = if at % 2 == 0 { ("10.1.1.3", "b") } else { ("10.1.1.2", "a") };
        let start = Instant::now();
        put_endpoint(api, "web", ip);
        until(IP, name).await;
        taken.push(start.elapsed());
    }
    let used = proxy.cpu() - before;
    let each = Cpu { own: used.own / ROUNDS, tools: used.tools / ROUNDS };
    let taken = median(&taken);
    if mode == "nftables" {
        row("nftables: one Service changed, API to rules", &milliseconds(taken), "goal 50 ms");
        return row("nftables: one Service changed, CPU", &milliseconds(each.own + each.tools), "goal 10 ms");
    }
    let bare = bare_restore(ROUNDS, PAUSE);
    row(
        "iptables: one Service changed, API to rules",
        &milliseconds(taken),
        &format!("goal 200 ms; the bare restore tool: {}{}", milliseconds(bare.0), upstreams(mode, "1.0 to 1.5 s")),
    );
    let beside = format!(
        "goal 5 ms (proxy {}, its tool {}, bare tool {}{})",
        milliseconds(each.own),
        milliseconds(each.tools),
        milliseconds(bare.1),
        upstreams(mode, "280 to 370 ms")
    );
    let above = (each.own + each.tools).saturating_sub(bare.1);
    row("iptables: one Service changed, CPU above the bare tool", &milliseconds(above), &beside);
}

/// A Service is created whose endpoint is known already.
async fn one_more(mode: &str, api: &FakeApi) {
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
    row(&format!("{mode}: Service created, to its first answer"), &milliseconds(median(&taken)), "goal 100 ms");
}

fn median(taken: &[Duration]) -> Duration {
    let mut taken = taken.to_vec();
    taken.sort();
    taken[taken.len() / 2]
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
