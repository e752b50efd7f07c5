//! How many questions about the cluster's own names one core answers a second: by sockets, and without the kernel's
//! share. Part of `make bench`.

mod sockets;

use criterion::{Criterion, Throughput, criterion_group};
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

fn main() {
    println!("{:<52} {:>16}   BESIDE", "WHAT", "MEASURED");
    let rate = sockets::answers_a_cpu_second(&question("service-77.default.svc.cluster.local.", RecordType::A));
    println!("{:<52} {rate:>16.0}   goal 30000", "DNS: internal questions a second a core, over UDP");
    benches();
    Criterion::default().configure_from_args().final_summary();
}
