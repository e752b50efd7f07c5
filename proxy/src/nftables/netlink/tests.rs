//! Whether the kernel understands what is written as `nft` means it: both write the same, and what `nft` lists then must
//! be the same. Needs root: `cargo test -p proxy --lib -- --ignored`.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;

use nix::sched::{CloneFlags, unshare};
use serde_json::json;

use super::{Batch, apply, chain_uses, generation, is_usable, uses_of};
use crate::iptables::Settings;
use crate::model::Family;
use crate::nftables::base::Base;
use crate::nftables::inventory::Inventory;
use crate::nftables::names;
use crate::nftables::operation::Operation;
use crate::nftables::rule::{Part, Verdict};
use crate::nftables::tests::{Objects, changed_settings, compile, dual, of_clusters, of_outside, remembered_for, text};
use crate::nftables::transaction::{difference, full, removal};
use crate::nftables::{Place, ServiceTable};
use crate::testkit::{service, settings};

/// Runs a test in a network namespace of its own.
fn run(test: impl FnOnce() + Send + 'static) {
    let inside = move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("needs root");
        test();
    };
    std::thread::spawn(inside).join().unwrap();
}

fn nft(arguments: &[&str], input: &str) -> String {
    let mut command = Command::new("nft");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("nft");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "nft {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn listed() -> String {
    nft(&["list", "ruleset"], "")
}

/// Elements of a map stand in the order of their hashes.
fn in_order(listing: &str) -> Vec<&str> {
    let lines =
        listing.lines().map(|line| line.trim().trim_start_matches("elements = { ").trim_end_matches([',', ' ', '}']));
    let mut lines: Vec<&str> = lines.collect();
    lines.sort_unstable();
    lines
}

fn check(settings: &Settings, services: &[Objects]) {
    let name = |(service, _): &Objects| service.metadata.name.clone().unwrap();
    let tables: BTreeMap<String, Arc<ServiceTable>> =
        services.iter().map(|both| (name(both), compile(settings, both))).collect();
    let (base, family) = (Base::new(settings), settings.family);
    let steps = full(&base, &tables);
    apply(family, &steps).unwrap();
    let ours = listed();
    nft(&["-f", "-"], &text(family, &steps));
    let theirs = listed();
    assert_eq!(in_order(&ours), in_order(&theirs), "{ours}\n{theirs}");
}

#[test]
#[ignore = "needs root"]
fn the_kernel_understands_what_nft_would_have_written() {
    run(|| {
        check(&settings(Family::V4), &of_clusters());
        check(&settings(Family::V4), &of_outside());
        check(&settings(Family::V6), &[dual()]);
        check(&changed_settings(), &[dual()]);
        let many: Vec<String> = (0..1000).map(|at| format!("10.1.{}.{}", at / 250, at % 250 + 1)).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        check(&settings(Family::V4), &[service("many", json!({"clusterIP": "172.30.0.6"}), &many)]);
    });
}

#[test]
#[ignore = "needs root"]
fn a_difference_leads_to_the_same_as_everything_anew() {
    run(|| {
        let settings = settings(Family::V4);
        let spec = json!({"clusterIP": "172.30.0.1", "sessionAffinity": "ClientIP", "externalIPs": ["192.0.2.1"]});
        let states: [&[&str]; 5] = [&[], &["10.1.0.2"], &["10.1.0.2", "10.1.0.3"], &["10.1.0.3"], &[]];
        let base = Base::new(&settings);
        apply(Family::V4, &full(&base, &BTreeMap::new())).unwrap();
        let mut old = None;
        for addresses in states {
            let new = compile(&settings, &service("web", spec.clone(), addresses));
            let changes = [(old.replace(new.clone()), Some(new.clone()))];
            apply(Family::V4, &difference(&changes)).unwrap();
            let by_steps = listed();
            apply(Family::V4, &full(&base, &BTreeMap::from([("ns/web".into(), new)]))).unwrap();
            assert_eq!(in_order(&by_steps), in_order(&listed()), "{addresses:?}");
        }
    });
}

#[test]
#[ignore = "needs root"]
fn another_time_forgets_no_client() {
    run(|| {
        let settings = settings(Family::V4);
        let of = |seconds| compile(&settings, &remembered_for(seconds));
        apply(Family::V4, &full(&Base::new(&settings), &BTreeMap::from([("ns/web".into(), of(3600))]))).unwrap();
        let table = format!("ip {}", of(3600).shard.name());
        let set = of(3600).sets.first().unwrap().clone();
        nft(&["-f", "-"], &format!("add element {table} {set} {{ 10.9.9.9 timeout 1h }}"));
        apply(Family::V4, &difference(&[(Some(of(3600)), Some(of(60)))])).unwrap();
        let listed = listed();
        assert!(listed.contains("10.9.9.9") && listed.contains("{ ip saddr timeout 1m }"), "{listed}");
    });
}

#[test]
#[ignore = "needs root"]
fn a_refusal_names_its_step_and_nothing_is_done() {
    run(|| {
        is_usable(Family::V4).unwrap();
        assert_eq!(chain_uses(Family::V4).unwrap().unwrap().len(), 0, "no chains");
        let base = Base::new(&settings(Family::V4));
        apply(Family::V4, &full(&base, &BTreeMap::new())).unwrap();
        is_usable(Family::V4).unwrap();
        let before = listed();
        let rule = vec![Part::Do(Verdict::Goto("missing".into()))];
        let steps = [
            Operation::AddChain { name: "new", hook: None },
            Operation::AddRule { chain: "new", rule: &rule },
            Operation::AddChain { name: "newer", hook: None },
        ];
        let steps = steps.map(|operation| operation.at(Place::Main));
        let error = apply(Family::V4, &steps).unwrap_err().to_string();
        assert!(error.starts_with("add rule ip kube-proxy new goto missing: "), "{error}");
        assert_eq!(listed(), before);
        apply(Family::V4, &removal()).unwrap();
        apply(Family::V4, &removal()).unwrap();
        assert_eq!(nft(&["list", "tables"], ""), "");
    });
}

#[test]
#[ignore = "needs root"]
fn the_kernel_counts_what_it_should() {
    run(|| {
        let settings = settings(Family::V4);
        let base = Base::new(&settings);
        let mut tables = BTreeMap::new();
        let damaged = |tables: &BTreeMap<String, Arc<ServiceTable>>| {
            let found = chain_uses(Family::V4).unwrap().unwrap();
            Inventory::new(&base, tables).damaged(&found).map(|(_, chain)| chain.to_owned())
        };
        apply(Family::V4, &full(&base, &tables)).unwrap();
        assert_eq!(damaged(&tables), None);
        for (at, both) in of_clusters().iter().chain(&of_outside()).enumerate() {
            let before = generation(Family::V4).unwrap();
            let new = compile(&settings, both);
            let changes = [(None, Some(new.clone()))];
            let steps = difference(&changes);
            apply(Family::V4, &steps).unwrap();
            tables.insert(at.to_string(), new);
            assert_eq!(damaged(&tables), None);
            let by_one = u32::from(!steps.is_empty());
            assert_eq!(generation(Family::V4).unwrap(), before.wrapping_add(by_one), "one transaction");
        }
        let masquerading = chain_uses(Family::V4).unwrap().unwrap()[&Place::Main]["masquerading"];
        assert_eq!(uses_of(Family::V4, "kube-proxy", "masquerading").unwrap(), Some(masquerading));
        assert_eq!(uses_of(Family::V4, "kube-proxy", "missing").unwrap(), None);
        assert_eq!(uses_of(Family::V6, "kube-proxy", "masquerading").unwrap(), None);
        let place = Place::Shard(names::shard("ns/many")).name();
        let many = names::port("service", "ns/many:p80", "tcp");
        for (damage, chain) in [
            (format!("flush chain ip {place} {many}"), None),
            ("flush map ip kube-proxy no-endpoint-services".to_owned(), Some("reject-chain")),
            (format!("flush map ip {place} service-ips"), None),
            ("flush chain ip kube-proxy masquerading".to_owned(), Some("masquerading")),
            ("add rule ip kube-proxy masquerading counter".to_owned(), Some("masquerading")),
            ("delete chain ip kube-proxy filter-forward".to_owned(), None),
        ] {
            nft(&["-f", "-"], &damage);
            let found = damaged(&tables);
            assert!(
                found.is_some() && chain.is_none_or(|chain| found.as_deref() == Some(chain)),
                "{damage}: {found:?}"
            );
            apply(Family::V4, &full(&base, &tables)).unwrap();
            assert_eq!(damaged(&tables), None);
        }
    });
}

#[test]
fn a_batch_is_framed_and_its_last_step_asks_for_an_answer() {
    let batch = Batch::new(Family::V4, &removal()[..2]);
    let hex: String = batch.bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let table = "0f0001006b7562652d70726f787900".to_owned() + "00";
    let expected = [
        "14000000 1000 0100 00000000 00000000 0000 000a".replace(' ', ""),
        "2c000000 000a 0104 01000000 00000000 0200 0000".replace(' ', "") + &table + "0800020000000000",
        "24000000 020a 0500 02000000 00000000 0200 0000".replace(' ', "") + &table,
        "14000000 1100 0100 03000000 00000000 0000 000a".replace(' ', ""),
    ];
    assert_eq!(hex, expected.concat());
    assert_eq!(batch.last_sequence(), 2);
}
