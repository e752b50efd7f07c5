//! Replies as packets: made from a request, and cut to what the way back can carry. Pure.

use hickory_proto::op::{Edns, Message, MessageType, Metadata, OpCode, ResponseCode};
use hickory_proto::rr::Record;

/// The largest datagram sent, whatever a client would take: it passes every link without fragments (DNS flag day 2020).
const DATAGRAM_BYTES_MAX: usize = 1232;
/// A datagram for whoever says nothing about sizes (RFC 1035 2.3.4).
const PLAIN_DATAGRAM_BYTES_MAX: usize = 512;

/// How a reply goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Udp,
    Tcp,
}

impl Transport {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
        }
    }
}

/// A reply without records: header, question and EDNS as the request asks for them.
pub(crate) fn reply(request: &Message, code: ResponseCode) -> Message {
    let mut metadata = Metadata::response_from_request(&request.metadata);
    metadata.recursion_available = true;
    metadata.response_code = code;
    let mut reply = Message::new(metadata.id, MessageType::Response, metadata.op_code);
    reply.metadata = metadata;
    reply.queries = request.queries.clone();
    reply.edns = request.edns.as_ref().map(|asked| edns(asked.flags().dnssec_ok));
    reply
}

/// Ours: what we take at most, and the client's wish for signatures repeated (RFC 3225).
pub(crate) fn edns(dnssec_ok: bool) -> Edns {
    let mut edns = Edns::new();
    edns.set_max_payload(DATAGRAM_BYTES_MAX as u16).set_version(0).set_dnssec_ok(dnssec_ok);
    edns
}

/// The reply to a packet that cannot be read, when at least its header can.
pub(crate) fn unreadable(packet: &[u8]) -> Option<Vec<u8>> {
    let (id, flags) = (packet.get(..2)?, packet.get(2)?);
    let is_response = flags & 0x80 != 0;
    let id = u16::from_be_bytes([id[0], id[1]]);
    (!is_response && packet.len() >= 12)
        .then(|| Message::error_msg(id, OpCode::Query, ResponseCode::FormErr).to_vec().ok())
        .flatten()
}

/// The reply as bytes. What does not fit into a datagram goes: first the additional records, then answers from the end,
/// with the mark that tells the client to ask by TCP. Some answers are better than none: old resolvers heed no mark.
pub(crate) fn encode(mut reply: Message, request: &Message, transport: Transport) -> Option<Vec<u8>> {
    let limit = match (transport, &request.edns) {
        (Transport::Tcp, _) => usize::from(u16::MAX),
        (Transport::Udp, None) => PLAIN_DATAGRAM_BYTES_MAX,
        (Transport::Udp, Some(_)) => usize::from(request.max_payload()).min(DATAGRAM_BYTES_MAX),
    };
    let bytes = to_vec(&reply)?;
    if bytes.len() <= limit {
        return Some(bytes);
    }
    reply.additionals.clear();
    let bytes = to_vec(&reply)?;
    if bytes.len() <= limit { Some(bytes) } else { truncated(reply, limit) }
}

/// With as many answers as fit. They are found by halving: how well names compress differs with their number.
fn truncated(mut reply: Message, limit: usize) -> Option<Vec<u8>> {
    let answers: Vec<Record> = std::mem::take(&mut reply.answers);
    reply.metadata.truncation = true;
    let mut best = to_vec(&reply)?;
    if best.len() > limit {
        reply.authorities.clear();
        best = to_vec(&reply)?;
    }
    let (mut fits, mut exceeds) = (0, answers.len());
    while exceeds - fits > 1 {
        let count = fits.midpoint(exceeds);
        reply.answers = answers[..count].to_vec();
        let bytes = to_vec(&reply)?;
        if bytes.len() <= limit {
            (fits, best) = (count, bytes);
        } else {
            exceeds = count;
        }
    }
    Some(best)
}

fn to_vec(message: &Message) -> Option<Vec<u8>> {
    message.to_vec().inspect_err(|error| tracing::error!(%error, "a reply cannot be encoded")).ok()
}
