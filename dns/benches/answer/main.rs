//! How many questions about the cluster's own names one core answers a second: by sockets, and without the kernel's
//! share. Part of `make bench`.

mod sockets;

use criterion::{Criterion, Throughput, criterion_group};
use dns::bench::Answerer;
use figures::{Figure, Sheet};
use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RecordType};

const ROUNDS: usize = 3;

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
    let mut sheet = Sheet::new("answer");
    let question = question("service-77.default.svc.cluster.local.", RecordType::A);
    let rates: Vec<f64> = (0..ROUNDS).map(|_| sockets::answers_a_cpu_second(&question)).collect();
    sheet.add(Figure::new("DNS: internal questions a second a core, over UDP", "1/s", rates).least(30_000.0));
    sheet.write(figures::folder!().as_ref()).expect("write the sheet");
    benches();
    Criterion::default().configure_from_args().final_summary();
}
