//! Resolvers' answers, kept as long as they may be. Pure: time is an argument.
//!
//! Two halves: entries come into the young one; when it is full it becomes the old one, and the old one is forgotten.
//! What is used moves back to the young. So the size is bounded and nothing is ever searched for.

use std::collections::HashMap;
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{RData, Record};
use tokio::time::Instant;

use super::{Answer, Question};

pub(super) struct Cache {
    /// Of each half.
    capacity: usize,
    ttl_max: Duration,
    young: HashMap<Question, Kept>,
    old: HashMap<Question, Kept>,
}

struct Kept {
    answer: Answer,
    since: Instant,
    until: Instant,
}

impl Cache {
    pub(super) fn new(size: usize, ttl_max: Duration) -> Cache {
        Cache { capacity: size.div_ceil(2), ttl_max, young: HashMap::new(), old: HashMap::new() }
    }

    /// The answer with the times that are left of it.
    pub(super) fn get(&mut self, question: &Question, now: Instant) -> Option<Answer> {
        if let Some(kept) = self.old.remove(question) {
            self.insert(question.clone(), kept);
        }
        let kept = self.young.get(question).filter(|kept| kept.until > now)?;
        let mut answer = kept.answer.clone();
        let age = u32::try_from(now.duration_since(kept.since).as_secs()).unwrap_or(u32::MAX);
        for record in answer.answers.iter_mut().chain(&mut answer.authorities).chain(&mut answer.additionals) {
            record.ttl = record.ttl.saturating_sub(age);
        }
        Some(answer)
    }

    pub(super) fn put(&mut self, question: &Question, answer: &Answer, now: Instant) {
        let Some(ttl) = ttl(answer).map(|ttl| ttl.min(self.ttl_max)).filter(|ttl| !ttl.is_zero()) else { return };
        if self.capacity > 0 {
            self.insert(question.clone(), Kept { answer: answer.clone(), since: now, until: now + ttl });
        }
    }

    fn insert(&mut self, question: Question, kept: Kept) {
        if self.young.len() >= self.capacity {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(question, kept);
    }
}

/// The least of its records'. That there is nothing holds as long as the zone's SOA says (RFC 2308); without one, and
/// for failures, it is not known how long.
fn ttl(answer: &Answer) -> Option<Duration> {
    let least = |records: &[Record]| records.iter().map(|record| record.ttl).min();
    let seconds = match answer.code {
        ResponseCode::NoError if !answer.answers.is_empty() => least(&answer.answers),
        ResponseCode::NoError | ResponseCode::NXDomain => {
            let denials = answer.authorities.iter().filter_map(|record| match &record.data {
                RData::SOA(soa) => Some(record.ttl.min(soa.minimum)),
                _ => None,
            });
            denials.chain(least(&answer.answers)).min().filter(|_| has_soa(answer))
        }
        _ => None,
    };
    seconds.map(|seconds| Duration::from_secs(seconds.into()))
}

fn has_soa(answer: &Answer) -> bool {
    answer.authorities.iter().any(|record| matches!(record.data, RData::SOA(_)))
}
