//! The proxy as a process, what the kernel counts of it, and the bare tool beside it.

use std::process::{Child, Command};
use std::time::{Duration, Instant};

use component::serve;
use component::shutdown::Shutdown;
use component::testing::FakeApi;
use figures::process::{Cpu, memory_mib};
use http::Request;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use kube::client::Body;
use tower::Service as _;

use crate::net::sh;
use crate::objects::IP;

/// Set in the environment of the process that is the proxy.
pub(crate) const AS_PROXY: &str = "SKIFF_BENCH_AS_PROXY";

/// Runs kube-proxy with the flags of the command line until killed.
pub(crate) fn be_proxy() {
    let values = proxy::flags().parse(std::env::args().skip(1)).expect("flags");
    let options = proxy::Options::from_flags(&values).expect("options");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(proxy::run(options, proxy::Seams::system(Shutdown::new()))).expect("kube-proxy");
}

/// Serves the API on loopback; its URL.
pub(crate) async fn serve(api: &FakeApi) -> String {
    let listener = serve::bind(([127, 0, 0, 1], 0).into()).expect("a port");
    let address = listener.local_addr().expect("an address");
    let api = api.clone();
    let service = tower::service_fn(move |request: Request<Incoming>| {
        let mut api = api.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            api.call(Request::from_parts(head, Body::from(body.to_vec()))).await
        }
    });
    tokio::spawn(serve::accept(listener, None, service, Shutdown::new()));
    format!("http://{address}")
}

/// Killed at the end.
pub(crate) struct Proxy(Child);

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Proxy {
    pub(crate) fn start(mode: &str, server: &str) -> Proxy {
        let flags = [
            "--hostname-override=here".to_owned(),
            "--cluster-cidr=10.0.0.0/8".to_owned(),
            "--conntrack-max-per-core=0".to_owned(),
            "--healthz-bind-address=127.0.0.1:10256".to_owned(),
            format!("--master={server}"),
            format!("--proxy-mode={mode}"),
        ];
        let program = std::env::current_exe().expect("this program");
        Proxy(Command::new(program).args(flags).env(AS_PROXY, "1").spawn().expect("the proxy"))
    }

    pub(crate) fn cpu(&self) -> Cpu {
        Cpu::of(&self.0.id().to_string()).expect("the proxy runs")
    }

    /// Now, and at most so far.
    pub(crate) fn memory_mib(&self) -> (f64, f64) {
        let of = |field: &str| memory_mib(&self.0.id().to_string(), field).expect("the proxy runs");
        (of("VmRSS"), of("VmHWM"))
    }
}

/// The restore tool alone on the same differences, with the same pauses: the endpoint moves to another address, and back.
/// Its time, and its share of the processor.
pub(crate) fn bare_restore(rounds: u32, pause: Duration) -> (Duration, Duration) {
    let own = || Cpu::of("self").expect("this process runs");
    let nat = sh("iptables-save -t nat");
    let leads_on = |chain: &str, matches: &str| -> String {
        let rules = nat.lines().filter(|line| line.starts_with(&format!("-A {chain} ")) && line.contains(matches));
        rules.filter_map(|line| line.split("-j ").nth(1)).next_back().unwrap_or_default().trim().to_owned()
    };
    let service = leads_on("KUBE-SERVICES", &format!("-d {IP}/32 "));
    let endpoint = leads_on(&service, "");
    let of = |chain: &str| -> String {
        nat.lines().filter(|line| line.starts_with(&format!("-A {chain} "))).map(|line| format!("{line}\n")).collect()
    };
    let there = of(&service) + &of(&endpoint);
    let texts = [(endpoint.as_str(), "KUBE-SEP-BARE"), ("KUBE-SEP-BARE", endpoint.as_str())].map(|(old, new)| {
        let rules = there.replace(&endpoint, new);
        format!("*nat\n:{service} - [0:0]\n:{new} - [0:0]\n:{old} - [0:0]\n{rules}-X {old}\nCOMMIT\n")
    });
    let (mut taken, before) = (Duration::ZERO, own());
    for at in 0..rounds as usize {
        std::thread::sleep(pause);
        let start = Instant::now();
        sh(&format!("exec iptables-restore --noflush --wait 30 <<'END'\n{}END\n", texts[at % 2]));
        taken += start.elapsed();
    }
    (taken / rounds, (own() - before).children / rounds)
}
