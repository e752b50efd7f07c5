//! From a question to what to do about it. Pure: the zone and the request in, a reply or the need to ask others out.
//!
//! Enter at [`decide`]; `records` has what stands at each kind of place.

mod records;

use std::net::IpAddr;

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{CNAME, PTR, SOA};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use crate::message::reply;
use crate::zone::{Entry, Place, Zone};

/// Longest chain of ExternalName Services inside the cluster that is followed.
const ALIASES_MAX: usize = 8;

/// What holds for all answers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// Of every record of the zone, and of "there is none".
    pub(crate) ttl_seconds: u32,
    /// Whether pods have names made of their addresses.
    pub(crate) has_pod_names: bool,
    /// Whether a resolver's search path is walked here, in one trip.
    pub(crate) walks_search_path: bool,
}

/// What to do with a request.
#[derive(Debug)]
pub(crate) enum Decision {
    /// Not a question: answering answers would make loops.
    Drop,
    Reply(Message),
    /// Not of the cluster: the resolvers' answer is ours.
    Forward,
    /// These answers, and those that the resolvers have for this name.
    Chase {
        answers: Vec<Record>,
        target: Name,
    },
    /// A name that a resolver's search path made of `meant`, which is not of the cluster: what the resolvers know of it,
    /// with the node's own search path; this reply when they know nothing.
    Search {
        meant: Name,
        otherwise: Message,
    },
}

/// One question's worth of work.
struct Question<'a> {
    zone: &'a Zone,
    rules: &'a Rules,
    request: &'a Message,
    name: &'a Name,
    kind: RecordType,
}

/// Decides.
pub(crate) fn decide(zone: &Zone, rules: &Rules, request: &Message) -> Decision {
    if request.metadata.message_type != MessageType::Query {
        return Decision::Drop;
    }
    let refuse = |code| Decision::Reply(reply(request, code));
    if request.metadata.op_code != OpCode::Query {
        return refuse(ResponseCode::NotImp);
    }
    if request.version() != 0 {
        return refuse(ResponseCode::BADVERS);
    }
    let [query] = &request.queries[..] else { return refuse(ResponseCode::FormErr) };
    if query.query_class != DNSClass::IN || matches!(query.query_type, RecordType::AXFR | RecordType::IXFR) {
        return refuse(ResponseCode::Refused);
    }
    let question = Question { zone, rules, request, name: &query.name, kind: query.query_type };
    if zone.origin.zone_of(&query.name) {
        if !zone.is_complete {
            return refuse(ResponseCode::ServFail);
        }
        return question.in_zone();
    }
    match address_of(&query.name).map(|address| zone.names_of(address)) {
        Some(names) if !names.is_empty() => Decision::Reply(question.reverse(names)),
        _ => Decision::Forward,
    }
}

impl Question<'_> {
    fn in_zone(&self) -> Decision {
        let lower = self.name.to_lowercase();
        let Some(labels) = labels_below(&lower, &self.zone.origin) else {
            return Decision::Reply(self.nothing());
        };
        match self.zone.at(&labels) {
            Place::Nothing => self.search(&labels),
            place => self.at(&place, self.name.clone(), Vec::new()),
        }
    }

    /// The answer at a place that exists; `answers` led to it.
    fn at(&self, place: &Place<'_>, owner: Name, mut answers: Vec<Record>) -> Decision {
        if let Place::Service(Entry::External { target }) = place {
            return self.alias(target, owner, answers);
        }
        if matches!(place, Place::Pod(_)) && !self.rules.has_pod_names {
            return Decision::Reply(self.nothing());
        }
        let mut additionals = Vec::new();
        let records = records::at(place, self.kind, &owner, self.zone, &mut |name, address| {
            additionals.push(self.record(name, records::address(address)));
        });
        // Each client starts at another one: a resolver's first address gets most of the connections.
        let records = match (place, self.kind) {
            (Place::Apex, RecordType::SOA) => vec![self.soa()],
            _ => records,
        };
        let mut records: Vec<Record> = records.into_iter().map(|data| self.record(owner.clone(), data)).collect();
        if !records.is_empty() {
            let count = records.len();
            records.rotate_left(usize::from(self.request.metadata.id) % count);
        }
        answers.extend(records);
        Decision::Reply(self.reply_with(answers, additionals))
    }

    /// An ExternalName: within the cluster the way goes on here, elsewhere the resolvers know it.
    fn alias(&self, target: &Name, owner: Name, mut answers: Vec<Record>) -> Decision {
        answers.push(self.record(owner, RData::CNAME(CNAME(target.clone()))));
        if matches!(self.kind, RecordType::CNAME | RecordType::ANY) || answers.len() > ALIASES_MAX {
            return Decision::Reply(self.reply_with(answers, Vec::new()));
        }
        if !self.zone.origin.zone_of(target) {
            return Decision::Chase { answers, target: target.clone() };
        }
        let lower = target.to_lowercase();
        let place = labels_below(&lower, &self.zone.origin).map_or(Place::Nothing, |labels| self.zone.at(&labels));
        if place == Place::Nothing {
            let mut reply = self.nothing();
            reply.answers = answers;
            return Decision::Reply(reply);
        }
        self.at(&place, target.clone(), answers)
    }

    /// No such name; but it may be one that a resolver made of another by its search path.
    fn search(&self, labels: &[&str]) -> Decision {
        let Some((inside, meant)) = self.zone.search(labels).filter(|_| self.rules.walks_search_path) else {
            return Decision::Reply(self.nothing());
        };
        for candidate in inside {
            let place = self.zone.at(&candidate);
            if let (false, Some(name)) = (place == Place::Nothing, self.zone.name(&candidate)) {
                let alias = self.record(self.name.clone(), RData::CNAME(CNAME(name.clone())));
                return self.at(&place, name, vec![alias]);
            }
        }
        match Name::from_labels(meant.iter().map(|label| label.as_bytes())) {
            Ok(meant) => Decision::Search { meant, otherwise: self.nothing() },
            Err(_) => Decision::Reply(self.nothing()),
        }
    }

    /// The names of an address.
    fn reverse(&self, names: &[Name]) -> Message {
        let is_wanted = matches!(self.kind, RecordType::PTR | RecordType::ANY);
        let names = names.iter().filter(|_| is_wanted);
        let answers = names.map(|name| self.record(self.name.clone(), RData::PTR(PTR(name.clone())))).collect();
        self.reply_with(answers, Vec::new())
    }

    /// An authoritative reply; without records it says for how long there are none (RFC 2308).
    fn reply_with(&self, answers: Vec<Record>, additionals: Vec<Record>) -> Message {
        let mut reply = reply(self.request, ResponseCode::NoError);
        reply.metadata.authoritative = true;
        let is_empty =
            answers.iter().all(|record| record.record_type() == RecordType::CNAME) && self.kind != RecordType::CNAME;
        if is_empty {
            reply.authorities = vec![self.authority()];
        }
        reply.answers = answers;
        reply.additionals = additionals;
        reply
    }

    fn nothing(&self) -> Message {
        let mut reply = reply(self.request, ResponseCode::NXDomain);
        reply.metadata.authoritative = true;
        reply.authorities = vec![self.authority()];
        reply
    }

    fn authority(&self) -> Record {
        let owner = match self.zone.origin.zone_of(self.name) {
            true => self.zone.origin.clone(),
            // `in-addr.arpa.` or `ip6.arpa.`
            false => self.name.trim_to(2),
        };
        self.record(owner, self.soa())
    }

    fn soa(&self) -> RData {
        let at = |labels: &[&str]| self.zone.name(labels).unwrap_or_else(|| self.zone.origin.clone());
        let (server, mailbox) = (at(&["ns", "dns"]), at(&["hostmaster"]));
        RData::SOA(SOA::new(server, mailbox, self.zone.serial, 7200, 1800, 86400, self.rules.ttl_seconds))
    }

    fn record(&self, owner: Name, data: RData) -> Record {
        Record::from_rdata(owner, self.rules.ttl_seconds, data)
    }
}

/// The labels of a name in lower case before the origin's. `None` for bytes that are no text: no object is named so.
pub(crate) fn labels_below<'n>(lower: &'n Name, origin: &Name) -> Option<Vec<&'n str>> {
    let count = lower.iter().len() - origin.iter().len();
    lower.iter().take(count).map(|label| std::str::from_utf8(label).ok()).collect()
}

/// The address that a whole name below `in-addr.arpa.` or `ip6.arpa.` stands for.
fn address_of(name: &Name) -> Option<IpAddr> {
    let is_reverse = name.iter().next_back().is_some_and(|label| label.eq_ignore_ascii_case(b"arpa"));
    let net = is_reverse.then(|| name.parse_arpa_name().ok()).flatten()?;
    (net.prefix_len() == net.max_prefix_len()).then(|| net.addr())
}

#[cfg(test)]
mod tests;
