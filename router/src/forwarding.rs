//! Lets pods' packets through a host that forwards nothing by default, as Docker's are. That must stand in the table that
//! says so: accepting a packet in one table does not keep another from dropping it. Everything here blocks while the tool
//! runs.

use std::error::Error;

use ipnet::IpNet;
use iptables::IPTables;

const CHAIN: &str = "SKIFF-FORWARD";

/// The program that must be there.
pub(crate) fn program(is_v6: bool) -> &'static str {
    if is_v6 { "ip6tables" } else { "iptables" }
}

/// Of ranges of one family. A look that finds all of it there is two short runs of the tool.
pub(crate) fn accept(is_v6: bool, ranges: &[IpNet]) -> Result<(), String> {
    let tables = of_family(is_v6);
    try_to_accept(&tables, ranges).map_err(|error| error.to_string())
}

fn try_to_accept(tables: &IPTables, ranges: &[IpNet]) -> Result<(), Box<dyn Error>> {
    let there = tables.list("filter", CHAIN)?;
    let has = |list: &[String], rule: &str| list.iter().any(|line| line == rule);
    if !has(&there, &format!("-N {CHAIN}")) {
        tables.new_chain("filter", CHAIN)?;
    }
    for range in ranges {
        for side in ["-s", "-d"] {
            let rule = format!("{side} {range} -j ACCEPT");
            // Asked again, as a range that is written otherwise than it is listed would be put in each time.
            if !has(&there, &format!("-A {CHAIN} {rule}")) && !tables.exists("filter", CHAIN, &rule)? {
                tables.append("filter", CHAIN, &rule)?;
            }
        }
    }
    let jump = format!("-j {CHAIN}");
    if !has(&tables.list("filter", "FORWARD")?, &format!("-A FORWARD {jump}")) {
        tables.append("filter", "FORWARD", &jump)?;
    }
    Ok(())
}

/// Takes away what [`accept`] made. A host without the tool has nothing of it.
pub(crate) fn forget() {
    for is_v6 in [false, true] {
        let tables = of_family(is_v6);
        let _ = tables.delete("filter", "FORWARD", &format!("-j {CHAIN}"));
        let _ = tables.flush_chain("filter", CHAIN);
        let _ = tables.delete_chain("filter", CHAIN);
    }
}

/// Every tool of the last ten years waits for others' lock; asking it for its version each time would be one run more.
fn of_family(is_v6: bool) -> IPTables {
    IPTables { cmd: program(is_v6), has_check: true, has_wait: true, is_numeric: false }
}
