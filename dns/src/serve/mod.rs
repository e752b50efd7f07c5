//! Requests in, replies out. Enter at [`Server::begin`]; `udp` and `tcp` hold the sockets.
//!
//! What the zone answers is answered at once, on the task that read it; what others must be asked for gets a task of
//! its own.

pub(crate) mod tcp;
#[cfg(test)]
mod tests;
pub(crate) mod udp;

use std::net::IpAddr;
use std::sync::Arc;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::CNAME;
use hickory_proto::rr::{Name, RData, Record};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::answer::{Decision, Rules, decide};
use crate::clients::Clients;
use crate::feed::Shared;
use crate::forward::{Answer, Forward, ForwardError, Question};
use crate::message::{Transport, encode, reply, unreadable};
use crate::metrics;
use crate::zone::Zone;

/// Questions that others are asked for at a time; more are refused, or a slow resolver would fill the memory.
const FORWARDS_MAX: usize = 1024;

/// Answers requests. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Server(Arc<Inner>);

struct Inner {
    zone: Shared<Zone>,
    rules: Rules,
    clients: Shared<Clients>,
    forward: Forward,
    forwards: Arc<Semaphore>,
}

/// What became of a packet.
pub(crate) enum Begun {
    Nothing,
    Reply(Vec<u8>),
    /// The reply takes asking others: [`Server::finish`] has it.
    Later(Box<Later>),
}

/// A request that others are asked for.
pub(crate) struct Later {
    request: Message,
    decision: Decision,
    transport: Transport,
    start: Instant,
    _permit: OwnedSemaphorePermit,
}

impl Server {
    pub(crate) fn new(zone: Shared<Zone>, rules: Rules, clients: Shared<Clients>, forward: Forward) -> Server {
        let forwards = Arc::new(Semaphore::new(FORWARDS_MAX));
        Server(Arc::new(Inner { zone, rules, clients, forward, forwards }))
    }

    /// Reads a packet and answers it if nobody else need be asked.
    pub(crate) fn begin(&self, packet: &[u8], client: IpAddr, transport: Transport) -> Begun {
        let start = Instant::now();
        let Ok(request) = Message::from_vec(packet) else {
            return unreadable(packet).map_or(Begun::Nothing, Begun::Reply);
        };
        if let Some(query) = request.queries.first() {
            metrics::request(transport.name(), query.query_type);
        }
        let decision = match self.0.clients.read().may_ask(client) {
            true => decide(&self.0.zone.read(), &self.0.rules, &request),
            false => Decision::Reply(reply(&request, ResponseCode::Refused)),
        };
        match decision {
            Decision::Drop => Begun::Nothing,
            Decision::Reply(reply) => finished(reply, &request, transport, start).map_or(Begun::Nothing, Begun::Reply),
            decision => match self.0.forwards.clone().try_acquire_owned() {
                Ok(_permit) => Begun::Later(Box::new(Later { request, decision, transport, start, _permit })),
                Err(_) => {
                    let reply = reply(&request, ResponseCode::ServFail);
                    finished(reply, &request, transport, start).map_or(Begun::Nothing, Begun::Reply)
                }
            },
        }
    }

    /// Asks others. `None` when there is nothing to send.
    pub(crate) async fn finish(&self, later: Later) -> Option<Vec<u8>> {
        let Later { request, decision, transport, start, _permit } = later;
        let reply = match decision {
            Decision::Drop => return None,
            Decision::Reply(reply) => reply,
            Decision::Forward => self.forward(&request).await,
            Decision::Chase { answers, target } => self.chase(&request, answers, target).await,
            Decision::Search { meant, otherwise } => self.search(&request, meant, otherwise).await,
        };
        finished(reply, &request, transport, start)
    }

    async fn forward(&self, request: &Message) -> Message {
        let Some(name) = request.queries.first().map(|query| query.name.clone()) else {
            return reply(request, ResponseCode::FormErr);
        };
        if self.0.forward.is_looped(&name) {
            return reply(request, ResponseCode::NXDomain);
        }
        let answer = self.ask(request, name).await;
        answered(request, Vec::new(), answer)
    }

    async fn chase(&self, request: &Message, answers: Vec<Record>, target: Name) -> Message {
        let answer = self.ask(request, target).await;
        answered(request, answers, answer)
    }

    /// The node's search domains first, then the name alone: the order that the client would try them in.
    async fn search(&self, request: &Message, meant: Name, otherwise: Message) -> Message {
        let conf = self.0.forward.conf();
        let names = conf.search.iter().filter_map(|domain| meant.clone().append_domain(domain).ok());
        for name in names.chain([meant.clone()]).collect::<Vec<_>>() {
            match self.ask(request, name.clone()).await {
                Ok(answer) if answer.code == ResponseCode::NXDomain => {}
                Ok(answer) => {
                    let Some(query) = request.queries.first() else { return otherwise };
                    let ttl = self.0.rules.ttl_seconds;
                    let alias = Record::from_rdata(query.name.clone(), ttl, RData::CNAME(CNAME(name)));
                    return answered(request, vec![alias], Ok(answer));
                }
                // The client goes on by itself, and is told of the failure when it asks for the name alone.
                Err(_) => return otherwise,
            }
        }
        otherwise
    }

    async fn ask(&self, request: &Message, name: Name) -> Result<Answer, ForwardError> {
        let query = request.queries.first();
        let question = Question {
            name,
            kind: query.map(|query| query.query_type).unwrap_or(hickory_proto::rr::RecordType::A),
            recursion_desired: request.metadata.recursion_desired,
            checking_disabled: request.metadata.checking_disabled,
            dnssec_ok: request.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok),
        };
        let answer = self.0.forward.ask(&question).await;
        answer.inspect_err(|error| tracing::debug!(%error, "a name outside the cluster has no answer"))
    }
}

/// The reply with what led to the resolvers' answer, and that answer.
fn answered(request: &Message, mut answers: Vec<Record>, answer: Result<Answer, ForwardError>) -> Message {
    let Ok(answer) = answer else {
        let mut reply = reply(request, ResponseCode::ServFail);
        reply.answers = answers;
        return reply;
    };
    let mut reply = reply(request, answer.code);
    // What was put before it nobody has signed.
    reply.metadata.authentic_data = answer.authentic_data && answers.is_empty();
    answers.extend(answer.answers);
    reply.answers = answers;
    reply.authorities = answer.authorities;
    reply.additionals = answer.additionals;
    reply
}

fn finished(reply: Message, request: &Message, transport: Transport, start: Instant) -> Option<Vec<u8>> {
    metrics::response(transport.name(), reply.metadata.response_code, start.elapsed());
    encode(reply, request, transport)
}
