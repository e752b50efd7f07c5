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
    // Not from a list, which looks empty where it fails: the jump would be put in each time.
    if !tables.exists("filter", "FORWARD", &jump)? {
        tables.append("filter", "FORWARD", &jump)?;
    }
    Ok(())
}

/// Takes away what [`accept`] made. A host without the tool has nothing of it.
pub(crate) fn forget() {
    for is_v6 in [false, true] {
        forget_in(&of_family(is_v6));
    }
}

fn forget_in(tables: &IPTables) {
    while tables.delete("filter", "FORWARD", &format!("-j {CHAIN}")).is_ok() {}
    let _ = tables.flush_chain("filter", CHAIN);
    let _ = tables.delete_chain("filter", CHAIN);
}

/// Every tool of the last ten years waits for others' lock; asking it for its version each time would be one run more.
fn of_family(is_v6: bool) -> IPTables {
    IPTables { cmd: program(is_v6), has_check: true, has_wait: true, is_numeric: false }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use component::testing::write_program;

    use super::*;

    /// A tool that cannot list, and whose rules are the files in `folder/FORWARD`; what it was asked is in `folder/asked`.
    fn fake(folder: &Path) -> IPTables {
        let (program, folder) = (folder.join("iptables"), folder.display());
        let text = format!(
            "#!/bin/sh\ncd {folder}; echo \"$*\" >>asked; set -- \"$3\" \"$4\" FORWARD/*\ncase \"$1 $2\" in\n\
             -S*) exit 4;; \"-C FORWARD\") test -e \"$3\";; \"-D FORWARD\") rm \"$3\";; esac\n"
        );
        write_program(&program, &text);
        let cmd = Box::leak(program.display().to_string().into_boxed_str());
        IPTables { cmd, has_check: true, has_wait: true, is_numeric: false }
    }

    #[test]
    fn a_jump_is_put_in_once_and_all_of_them_go() {
        let folder = tempfile::tempdir().unwrap();
        let (rules, asked) = (folder.path().join("FORWARD"), folder.path().join("asked"));
        fs::create_dir(&rules).unwrap();
        let tables = fake(folder.path());
        let puts_in = || {
            let _ = fs::remove_file(&asked);
            try_to_accept(&tables, &["10.244.0.0/16".parse().unwrap()]).unwrap();
            fs::read_to_string(&asked).unwrap().contains("-A FORWARD -j SKIFF-FORWARD")
        };
        assert!(puts_in());
        fs::write(rules.join("one"), "").unwrap();
        assert!(!puts_in(), "a list that fails is no empty one");
        fs::write(rules.join("two"), "").unwrap();
        forget_in(&tables);
        assert_eq!(fs::read_dir(&rules).unwrap().count(), 0);
        let asked = fs::read_to_string(&asked).unwrap();
        assert!(asked.contains("-X SKIFF-FORWARD"), "{asked}");
    }
}
