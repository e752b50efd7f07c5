//! Questions and answers as a table: one line of question, the reply as lines of text.

use std::net::IpAddr;

use hickory_proto::op::{Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};

use super::{Decision, Rules, decide};
use crate::message::{Transport, edns, encode};
use crate::zone::{Endpoint, Entry, Port, Zone};

const RULES: Rules = Rules { ttl_seconds: 5, has_pod_names: true, walks_search_path: true };

fn port(name: &str, protocol: &str, number: u16) -> Port {
    Port { name: name.into(), protocol: protocol.into(), number }
}

fn endpoint(host: &str, address: &str, ports: &[Port]) -> Endpoint {
    Endpoint { host: host.into(), address: address.parse().unwrap(), ports: ports.to_vec() }
}

fn zone() -> Zone {
    let mut zone = Zone::new(Name::from_ascii("cluster.local.").unwrap(), vec!["10.96.0.10".parse().unwrap()]);
    zone.set_namespace("ns", true);
    zone.set_namespace("empty", true);
    let addresses: Vec<IpAddr> = vec!["10.96.0.7".parse().unwrap(), "fd00:96::7".parse().unwrap()];
    let ports = vec![port("http", "tcp", 80), port("", "udp", 53)];
    zone.set_service("ns", "both", Some(Entry::Cluster { addresses, ports }));
    let addresses = vec!["10.96.0.8".parse().unwrap()];
    zone.set_service("ns", "web", Some(Entry::Cluster { addresses, ports: vec![port("http", "tcp", 80)] }));
    let peer = [port("peer", "tcp", 7000)];
    let endpoints = vec![endpoint("10-1-0-3", "10.1.0.3", &peer), endpoint("db-0", "10.1.0.2", &peer)];
    zone.set_service("ns", "db", Some(Entry::Headless { endpoints }));
    zone.set_service("ns", "idle", Some(Entry::Headless { endpoints: Vec::new() }));
    let external = |target: &str| Some(Entry::External { target: Name::from_ascii(target).unwrap() });
    zone.set_service("ns", "out", external("example.com."));
    zone.set_service("ns", "alias", external("web.ns.svc.cluster.local."));
    zone.set_service("ns", "dangling", external("nothing.ns.svc.cluster.local."));
    zone.set_service("ns", "ring", external("ring.ns.svc.cluster.local."));
    zone.is_complete = true;
    zone
}

fn request(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(0, hickory_proto::op::MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.queries = vec![Query::query(Name::from_ascii(name).unwrap(), kind)];
    message
}

fn ask(zone: &Zone, name: &str, kind: RecordType) -> String {
    shown(decide(zone, &RULES, &request(name, kind)))
}

/// A reply's code and its answers; what is asked of whom otherwise.
fn shown(decision: Decision) -> String {
    let of = |records: &[hickory_proto::rr::Record]| {
        let lines = records.iter().map(|record| format!("{} {}", record.record_type(), record.data));
        lines.collect::<Vec<_>>().join(", ")
    };
    match decision {
        Decision::Drop => "drop".to_owned(),
        Decision::Forward => "forward".to_owned(),
        Decision::Chase { answers, target } => format!("{} then {target}", of(&answers)),
        Decision::Search { meant, .. } => format!("search {meant}"),
        Decision::Reply(reply) => {
            let code = match reply.metadata.response_code {
                ResponseCode::NoError => "",
                ResponseCode::NXDomain => "NXDOMAIN ",
                ResponseCode::Refused => "REFUSED ",
                ResponseCode::ServFail => "SERVFAIL ",
                ResponseCode::NotImp => "NOTIMP ",
                _ => "? ",
            };
            let denial = reply.authorities.first().map(|record| format!("({} {})", record.record_type(), record.name));
            let parts = [of(&reply.answers), denial.unwrap_or_default()];
            let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
            format!("{code}{}", parts.join(" "))
        }
    }
}

#[test]
fn the_records_of_the_specification() {
    use RecordType::{A, AAAA, CNAME, MX, NS, PTR, SRV, TXT};
    let none = "(SOA cluster.local.)";
    let zone = zone();
    for (name, kind, expected) in [
        ("dns-version.cluster.local.", TXT, "TXT 1.1.0"),
        ("cluster.local.", NS, "NS ns.dns.cluster.local."),
        ("ns.dns.cluster.local.", A, "A 10.96.0.10"),
        ("both.ns.svc.cluster.local.", A, "A 10.96.0.7"),
        ("BOTH.ns.SVC.cluster.local.", AAAA, "AAAA fd00:96::7"),
        ("web.ns.svc.cluster.local.", AAAA, none),
        ("web.ns.svc.cluster.local.", MX, none),
        ("_http._tcp.web.ns.svc.cluster.local.", SRV, "SRV 0 100 80 web.ns.svc.cluster.local."),
        ("_http._tcp.web.ns.svc.cluster.local.", A, none),
        ("_tcp.web.ns.svc.cluster.local.", SRV, none),
        ("web.ns.svc.cluster.local.", SRV, "SRV 0 100 80 web.ns.svc.cluster.local."),
        ("db.ns.svc.cluster.local.", A, "A 10.1.0.2, A 10.1.0.3"),
        ("db-0.db.ns.svc.cluster.local.", A, "A 10.1.0.2"),
        ("10-1-0-3.db.ns.svc.cluster.local.", A, "A 10.1.0.3"),
        (
            "_peer._tcp.db.ns.svc.cluster.local.",
            SRV,
            "SRV 0 50 7000 10-1-0-3.db.ns.svc.cluster.local., SRV 0 50 7000 db-0.db.ns.svc.cluster.local.",
        ),
        ("db-0.db.ns.svc.cluster.local.", SRV, "SRV 0 100 7000 db-0.db.ns.svc.cluster.local."),
        ("out.ns.svc.cluster.local.", CNAME, "CNAME example.com."),
        ("out.ns.svc.cluster.local.", A, "CNAME example.com. then example.com."),
        ("alias.ns.svc.cluster.local.", A, "CNAME web.ns.svc.cluster.local., A 10.96.0.8"),
        ("10-1-0-3.ns.pod.cluster.local.", A, "A 10.1.0.3"),
        ("fd00--3.ns.pod.cluster.local.", AAAA, "AAAA fd00::3"),
        ("7.0.96.10.in-addr.arpa.", PTR, "PTR both.ns.svc.cluster.local."),
        ("2.0.1.10.in-addr.arpa.", PTR, "PTR db-0.db.ns.svc.cluster.local."),
        ("7.0.96.10.in-addr.arpa.", A, "(SOA in-addr.arpa.)"),
        ("9.9.9.9.in-addr.arpa.", PTR, "forward"),
        ("example.com.", A, "forward"),
    ] {
        assert_eq!(ask(&zone, name, kind), expected, "{name} {kind}");
    }
}

#[test]
fn a_name_that_is_not_there_is_told_from_one_without_records() {
    let zone = zone();
    let (none, nothing) = ("(SOA cluster.local.)", "NXDOMAIN (SOA cluster.local.)");
    for (name, expected) in [
        ("svc.cluster.local.", none),
        ("pod.cluster.local.", none),
        ("cluster.local.", none),
        ("dns.cluster.local.", none),
        ("ns.svc.cluster.local.", none),
        ("empty.svc.cluster.local.", none),
        ("ns.pod.cluster.local.", none),
        ("missing.svc.cluster.local.", nothing),
        ("x.cluster.local.", nothing),
        ("x.ns.svc.cluster.local.", nothing),
        ("idle.ns.svc.cluster.local.", nothing),
        ("db-1.db.ns.svc.cluster.local.", nothing),
        ("x.web.ns.svc.cluster.local.", nothing),
        ("_udp.web.ns.svc.cluster.local.", nothing),
        ("_x._tcp.web.ns.svc.cluster.local.", nothing),
        ("web.missing.svc.cluster.local.", nothing),
        ("not-an-address.ns.pod.cluster.local.", nothing),
        ("10-1-0-3.missing.pod.cluster.local.", nothing),
        ("dangling.ns.svc.cluster.local.", "NXDOMAIN CNAME nothing.ns.svc.cluster.local. (SOA cluster.local.)"),
    ] {
        assert_eq!(ask(&zone, name, RecordType::A), expected, "{name}");
    }
    let ring = ask(&zone, "ring.ns.svc.cluster.local.", RecordType::A);
    assert!(ring.matches("CNAME").count() < 20, "an alias of itself ends: {ring}");
}

#[test]
fn a_search_path_is_walked_in_one_trip() {
    let zone = zone();
    for (name, expected) in [
        // From a pod in namespace `empty`: the Service by name and namespace, and by more.
        ("web.ns.empty.svc.cluster.local.", "CNAME web.ns.svc.cluster.local., A 10.96.0.8"),
        ("web.ns.svc.empty.svc.cluster.local.", "CNAME web.ns.svc.cluster.local., A 10.96.0.8"),
        ("out.ns.empty.svc.cluster.local.", "CNAME out.ns.svc.cluster.local., CNAME example.com. then example.com."),
        ("www.example.com.empty.svc.cluster.local.", "search www.example.com."),
        // One label is a Service of the namespace, and one before a Service an endpoint: nothing else was meant.
        ("example.empty.svc.cluster.local.", "NXDOMAIN (SOA cluster.local.)"),
        ("x.web.ns.svc.cluster.local.", "NXDOMAIN (SOA cluster.local.)"),
        // No pod has this search path.
        ("www.example.com.missing.svc.cluster.local.", "NXDOMAIN (SOA cluster.local.)"),
        ("www.example.com.svc.cluster.local.", "NXDOMAIN (SOA cluster.local.)"),
    ] {
        assert_eq!(ask(&zone, name, RecordType::A), expected, "{name}");
    }
    let rules = Rules { walks_search_path: false, ..RULES };
    let plain = shown(decide(&zone, &rules, &request("web.ns.empty.svc.cluster.local.", RecordType::A)));
    assert_eq!(plain, "NXDOMAIN (SOA cluster.local.)");
}

#[test]
fn what_is_no_question_for_us_is_refused() {
    let mut zone = zone();
    let web = || request("web.ns.svc.cluster.local.", RecordType::A);
    let check = |zone: &Zone, change: &dyn Fn(&mut Message), expected: &str| {
        let mut request = web();
        change(&mut request);
        assert_eq!(shown(decide(zone, &RULES, &request)), expected);
    };
    check(&zone, &|request| request.metadata.message_type = hickory_proto::op::MessageType::Response, "drop");
    check(&zone, &|request| request.metadata.op_code = OpCode::Notify, "NOTIMP ");
    check(&zone, &|request| request.queries.clear(), "? ");
    check(&zone, &|request| request.queries[0].query_type = RecordType::AXFR, "REFUSED ");
    check(&zone, &|request| request.queries[0].query_class = hickory_proto::rr::DNSClass::CH, "REFUSED ");
    zone.is_complete = false;
    check(&zone, &|_| {}, "SERVFAIL ");
}

#[test]
fn a_service_that_goes_takes_its_names_with_it() {
    let mut zone = zone();
    zone.set_service("ns", "both", None);
    assert_eq!(ask(&zone, "both.ns.svc.cluster.local.", RecordType::A), "NXDOMAIN (SOA cluster.local.)");
    assert_eq!(ask(&zone, "7.0.96.10.in-addr.arpa.", RecordType::PTR), "forward");
    zone.set_namespace("empty", false);
    assert_eq!(ask(&zone, "empty.svc.cluster.local.", RecordType::A), "NXDOMAIN (SOA cluster.local.)");
}

#[test]
fn a_reply_fits_the_way_back() {
    let mut zone = zone();
    let endpoints = (0..200).map(|n| endpoint(&format!("pod-{n}"), &format!("10.1.1.{n}"), &[])).collect();
    zone.set_service("ns", "many", Some(Entry::Headless { endpoints }));
    let size = |edns_bytes: Option<u16>, transport| {
        let mut request = request("many.ns.svc.cluster.local.", RecordType::A);
        request.edns = edns_bytes.map(|bytes| {
            let mut edns = edns(false);
            edns.set_max_payload(bytes);
            edns
        });
        let Decision::Reply(reply) = decide(&zone, &RULES, &request) else { panic!("no reply") };
        let bytes = encode(reply, &request, transport).unwrap();
        let reply = Message::from_vec(&bytes).unwrap();
        assert_eq!(reply.edns.is_some(), edns_bytes.is_some());
        (bytes.len(), reply.metadata.truncation, reply.answers.len())
    };
    let (bytes, truncated, answers) = size(None, Transport::Udp);
    assert!(bytes <= 512 && truncated && answers > 20, "{bytes} {answers}");
    let (bytes, truncated, answers) = size(Some(4096), Transport::Udp);
    assert!((513..=1232).contains(&bytes) && truncated && answers > 60, "{bytes} {answers}");
    assert!(matches!(size(None, Transport::Tcp), (_, false, 200)));
}

#[test]
fn clients_start_at_different_addresses() {
    let zone = zone();
    let first = |id: u16| {
        let mut request = request("db.ns.svc.cluster.local.", RecordType::A);
        request.metadata.id = id;
        let Decision::Reply(reply) = decide(&zone, &RULES, &request) else { panic!("no reply") };
        reply.answers[0].data.to_string()
    };
    assert_ne!(first(1), first(2));
}
