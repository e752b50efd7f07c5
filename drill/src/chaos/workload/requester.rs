//! Requests to a Service, one after the other, each over a connection of its own.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::Shared;
use crate::chaos::record::{FailedRequest, Records};

/// Between two requests.
const PACE: Duration = Duration::from_millis(40);
/// Longer than the second after which a lost first packet is sent again: on a busy machine one may be.
const PATIENCE: Duration = Duration::from_secs(4);

pub(super) async fn run(shared: Shared, service: &'static str, address: IpAddr) -> Records {
    let mut records = Records::default();
    while !shared.is_ending() {
        let at = Instant::now();
        let answer = tokio::time::timeout(PATIENCE, request(address)).await;
        let reason = match answer {
            Ok(answer) => answer.err().map(|error| format!("{error:#}")),
            Err(_) => Some(format!("no answer within {PATIENCE:?}")),
        };
        records.requests += 1;
        records.failed_requests.extend(reason.map(|reason| FailedRequest {
            service,
            at,
            until: Instant::now(),
            reason,
        }));
        shared.pause(PACE).await;
    }
    records
}

async fn request(address: IpAddr) -> Result<()> {
    let mut stream = TcpStream::connect((address, 80)).await?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    ensure!(answer.starts_with(b"HTTP/1.1 200"), "{:?}", String::from_utf8_lossy(&answer[..answer.len().min(60)]));
    Ok(())
}
