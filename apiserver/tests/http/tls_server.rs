//! A small HTTPS server in this process, in the place of a kubelet or an extension API server.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// Answers on loopback until the test ends, also after a switch of protocols; returns its port.
pub(crate) async fn start<A, F>(config: rustls::ServerConfig, answer: A) -> u16
where
    A: Fn(Request<Incoming>) -> F + Copy + Send + Sync + 'static,
    F: Future<Output = Response<Full<Bytes>>> + Send,
{
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("its address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // A client that refuses this server, or goes away, is no failure of the test.
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = service_fn(|request| async move { Ok::<_, Infallible>(answer(request).await) });
                let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                let _ = connection.with_upgrades().await;
            });
        }
    });
    port
}
