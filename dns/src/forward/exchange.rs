//! One question to one resolver: by UDP from a port of its own, and by TCP when the answer did not fit.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use component::random::Random;
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};

use super::Question;
use crate::message::edns;

/// Why a resolver's answer is not there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExchangeError {
    #[error("{resolver} did not answer in {timeout:?}")]
    Timeout { resolver: SocketAddr, timeout: Duration },
    #[error("asking {resolver}: {source}")]
    Io { resolver: SocketAddr, source: std::io::Error },
    #[error("{resolver} answers {code}")]
    Refused { resolver: SocketAddr, code: ResponseCode },
    #[error("the question cannot be encoded: {0}")]
    Encode(#[from] hickory_proto::ProtoError),
}

/// The question as a message of our own. Its id is random, as is its port: both must be guessed to forge an answer.
pub(super) fn message(question: &Question, random: &Random) -> Message {
    let id = u16::try_from(random.below(0x1_0000)).unwrap_or_default();
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = question.recursion_desired;
    message.metadata.checking_disabled = question.checking_disabled;
    message.queries = vec![Query::query(question.name.clone(), question.kind)];
    message.edns = Some(edns(question.dnssec_ok));
    message
}

/// The resolver's reply. `timeout` is for each of the two ways.
pub(super) async fn exchange(
    message: &Message,
    resolver: SocketAddr,
    timeout: Duration,
) -> Result<Message, ExchangeError> {
    let bytes = message.to_vec()?;
    let within = async |way: std::pin::Pin<Box<dyn Future<Output = std::io::Result<Message>> + Send + '_>>| {
        match tokio::time::timeout(timeout, way).await {
            Ok(reply) => reply.map_err(|source| ExchangeError::Io { resolver, source }),
            Err(_) => Err(ExchangeError::Timeout { resolver, timeout }),
        }
    };
    let reply = within(Box::pin(by_udp(message, &bytes, resolver))).await?;
    if reply.metadata.truncation { within(Box::pin(by_tcp(message, &bytes, resolver))).await } else { Ok(reply) }
}

async fn by_udp(message: &Message, bytes: &[u8], resolver: SocketAddr) -> std::io::Result<Message> {
    let any: IpAddr = if resolver.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(resolver).await?;
    socket.send(bytes).await?;
    let mut buffer = vec![0; 4096];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // Anything else is late, broken or forged; the right one may still come.
        if let Ok(reply) = Message::from_vec(&buffer[..length])
            && answers(message, &reply)
        {
            return Ok(reply);
        }
    }
}

async fn by_tcp(message: &Message, bytes: &[u8], resolver: SocketAddr) -> std::io::Result<Message> {
    let mut stream = TcpStream::connect(resolver).await?;
    let length = u16::try_from(bytes.len()).map_err(std::io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), bytes].concat()).await?;
    let mut buffer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut buffer).await?;
    let reply = Message::from_vec(&buffer).map_err(std::io::Error::other)?;
    if answers(message, &reply) { Ok(reply) } else { Err(std::io::Error::other("the reply is to another question")) }
}

fn answers(question: &Message, reply: &Message) -> bool {
    reply.metadata.id == question.metadata.id
        && reply.metadata.message_type == MessageType::Response
        && reply.queries == question.queries
}
