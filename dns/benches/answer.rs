//! How many questions about the cluster's own names one core answers a second, without the kernel's share.
//!
//! The budget is 30,000 with it.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use dns::bench::Answerer;
use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RecordType};

fn question(name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::query();
    message.queries = vec![Query::query(Name::from_ascii(name).unwrap(), kind)];
    message.to_vec().unwrap()
}

fn answers(criterion: &mut Criterion) {
    let server = Answerer::with_services(10_000);
    let mut group = criterion.benchmark_group("answer");
    group.throughput(Throughput::Elements(1));
    for (what, name, kind) in [
        ("address", "service-77.default.svc.cluster.local.", RecordType::A),
        ("no address", "service-77.default.svc.cluster.local.", RecordType::AAAA),
        ("no name", "nothing.default.svc.cluster.local.", RecordType::A),
        ("search path", "service-77.default.default.svc.cluster.local.", RecordType::A),
        ("port", "_http._tcp.service-77.default.svc.cluster.local.", RecordType::SRV),
        ("reverse", "77.0.96.10.in-addr.arpa.", RecordType::PTR),
    ] {
        let packet = question(name, kind);
        group.bench_function(what, |bencher| bencher.iter(|| server.answer(&packet).unwrap()));
    }
    group.finish();
}

criterion_group!(benches, answers);
criterion_main!(benches);
