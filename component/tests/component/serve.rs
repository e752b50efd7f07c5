use std::{net::SocketAddr, sync::Arc};

use component::{
    clock::Clock,
    delegated::{Delegated, Settings},
    serve::{self, Endpoints, Gate},
    shutdown::Shutdown,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::soon;

fn start(endpoints: Endpoints) -> (SocketAddr, Shutdown, tokio::task::JoinHandle<()>) {
    let listener = serve::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let (address, shutdown) = (listener.local_addr().unwrap(), Shutdown::new());
    let serving = tokio::spawn(serve::accept(listener, None, endpoints, shutdown.clone()));
    (address, shutdown, serving)
}

async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[tokio::test]
async fn the_endpoints_of_every_component() {
    let endpoints = Endpoints::new(Gate::Open).with_configz(serde_json::json!({"kubeletconfig": {"port": 1}}));
    endpoints.readyz.add("informers", || Err("not synced".to_owned()));
    let (address, shutdown, serving) = start(endpoints);
    assert_eq!(get(address, "/healthz").await, (200, "ok".to_owned()));
    assert_eq!(get(address, "/livez?verbose").await, (200, "[+]ping ok\nlivez check passed\n".to_owned()));
    assert_eq!(get(address, "/readyz").await.0, 500);
    assert_eq!(get(address, "/readyz/ping").await, (200, "ok".to_owned()));
    assert_eq!(get(address, "/readyz/none").await.0, 404);
    assert_eq!(get(address, "/debug/pprof/").await.0, 404);
    assert!(get(address, "/configz").await.1.contains("kubeletconfig"));
    assert!(get(address, "/version").await.1.contains("\"gitVersion\": \"v1."));
    let metrics = get(address, "/metrics").await.1;
    for family in [
        "kubernetes_build_info{",
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_start_time_seconds",
        "process_open_fds",
    ] {
        assert!(metrics.contains(family), "{family}\n{metrics}");
    }
    shutdown.trigger();
    soon(serving).await.unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn behind_the_gate_only_the_probes_are_open() {
    let delegated = Delegated::new(None, Settings::default(), Clock::system()).unwrap();
    let (address, ..) = start(Endpoints::new(Gate::Delegated(Arc::clone(&delegated))));
    assert_eq!(get(address, "/healthz").await.0, 200);
    assert_eq!(get(address, "/metrics").await.0, 403);
    let closed = Settings { anonymous: false, ..Settings::default() };
    let delegated = Delegated::new(None, closed, Clock::system()).unwrap();
    let (address, ..) = start(Endpoints::new(Gate::Delegated(delegated)));
    assert_eq!(get(address, "/metrics").await, (401, "Unauthorized\n".to_owned()));
    assert_eq!(get(address, "/readyz").await.0, 200);
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let listener = serve::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let error = serve::bind(address).unwrap_err().to_string();
    assert!(error.starts_with(&format!("listen tcp {address}: ")), "{error}");
}
