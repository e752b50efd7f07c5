//! The cache as a table over time, and resolvers that are scripted on loopback.

use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{A, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::time::Instant;

use super::cache::Cache;
use super::{Answer, Question};

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn question(text: &str) -> Question {
    let (name, kind) = (name(text), RecordType::A);
    Question { name, kind, recursion_desired: true, checking_disabled: false, dnssec_ok: false }
}

fn answer(code: ResponseCode, answers: Vec<Record>, authorities: Vec<Record>) -> Answer {
    Answer { code, answers, authorities, additionals: Vec::new(), authentic_data: false }
}

fn address(ttl: u32) -> Record {
    Record::from_rdata(name("a.example."), ttl, RData::A(A::new(192, 0, 2, 1)))
}

fn soa(ttl: u32, minimum: u32) -> Record {
    let data = SOA::new(name("ns.example."), name("host.example."), 1, 1, 1, 1, minimum);
    Record::from_rdata(name("example."), ttl, RData::SOA(data))
}

/// For how many seconds an answer is kept.
fn kept(answer: &Answer, ttl_max: u64) -> u64 {
    let mut cache = Cache::new(10, Duration::from_secs(ttl_max));
    let start = Instant::now();
    cache.put(&question("a.example."), answer, start);
    (0..1000).find(|age| cache.get(&question("a.example."), start + Duration::from_secs(*age)).is_none()).unwrap()
}

#[test]
fn answers_are_kept_as_long_as_they_say() {
    let (ok, nx) = (ResponseCode::NoError, ResponseCode::NXDomain);
    let cases = [
        (answer(ok, vec![address(20), address(10)], vec![]), 10),
        (answer(ok, vec![address(300)], vec![]), 30),
        (answer(ok, vec![address(0)], vec![]), 0),
        (answer(nx, vec![], vec![soa(60, 12)]), 12),
        (answer(nx, vec![], vec![]), 0),
        (answer(ok, vec![], vec![soa(7, 60)]), 7),
        (answer(ResponseCode::ServFail, vec![], vec![soa(7, 60)]), 0),
    ];
    for (answer, seconds) in cases {
        assert_eq!(kept(&answer, 30), seconds, "{answer:?}");
    }
    assert_eq!(kept(&answer(ok, vec![address(20)], vec![]), 0), 0, "no cache");
}

#[test]
fn what_is_left_is_told_and_names_have_no_case() {
    let mut cache = Cache::new(10, Duration::from_secs(30));
    let start = Instant::now();
    cache.put(&question("a.example."), &answer(ResponseCode::NoError, vec![address(20)], vec![]), start);
    let found = cache.get(&question("A.Example."), start + Duration::from_secs(5)).unwrap();
    assert_eq!(found.answers[0].ttl, 15);
}

#[test]
fn the_cache_is_bounded_and_keeps_what_is_used() {
    let mut cache = Cache::new(20, Duration::from_secs(30));
    let start = Instant::now();
    let one = answer(ResponseCode::NoError, vec![address(20)], vec![]);
    for number in 0..1000 {
        cache.put(&question(&format!("n{number}.example.")), &one, start);
        cache.put(&question("used.example."), &one, start);
        assert!(cache.get(&question("used.example."), start).is_some());
    }
    let found = (0..1000).filter(|n| cache.get(&question(&format!("n{n}.example.")), start).is_some()).count();
    assert!(found <= 20, "{found}");
}
