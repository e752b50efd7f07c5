//! ServiceCIDRs: where Services' addresses come from (Kubernetes concept: "Service ClusterIP allocation").

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use serde_json::Value;

use super::super::{Hooks, RESETS_WITH_METADATA, ip, reset_status, text_column, validate};
use crate::rest::table::{AGE, NAME, age};

pub static HOOKS: Hooks = Hooks {
    prepare_create: reset_status,
    resets: RESETS_WITH_METADATA,
    prepare_status: validate::keep_metadata,
    // Ranges that are there stay, good or not; a second one is looked at.
    validate_against: |new, old| match old {
        Some(old) => validate_change(new, old),
        None => validate_ranges(new, &validate::path(&["spec", "cidrs"])),
    },
    columns: &[NAME, text_column("CIDRs", "The ranges, one a family."), AGE],
    cells: |range, now| {
        let cidrs: Vec<&str> = meta::list(range, "spec.cidrs").iter().filter_map(Value::as_str).collect();
        vec![meta::name(range).into(), cidrs.join(",").into(), age(range, now).into()]
    },
    ..Hooks::PLAIN
};

fn validate_ranges(range: &Value, path: &Path) -> ErrorList {
    let cidrs: Vec<&str> = meta::list(range, "spec.cidrs").iter().filter_map(Value::as_str).collect();
    if cidrs.is_empty() {
        return vec![Error::required(path, "at least one CIDR required")];
    }
    if cidrs.len() > 2 {
        // Upstream shows the spec of its own type.
        let shown = format!("{{\"CIDRs\":{}}}", range["spec"]["cidrs"]);
        return vec![Error::invalid(path, range["spec"].clone(), "may only hold up to 2 values").showing(shown)];
    }
    let mut errors: ErrorList =
        cidrs.iter().enumerate().filter_map(|(position, cidr)| ip::strict_cidr(cidr, &path.index(position))).collect();
    if ip::is_one_family(&cidrs) {
        let why = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
        errors.push(Error::invalid(path, range["spec"]["cidrs"].clone(), why));
    }
    errors
}

/// A second family may come; what is there stays.
fn validate_change(new: &Value, old: &Value) -> ErrorList {
    let (now, before) = (meta::list(new, "spec.cidrs"), meta::list(old, "spec.cidrs"));
    let path = validate::path(&["spec", "cidrs"]);
    let grows = before.len() == 1 && now.len() == 2;
    if now.len() != before.len() && !grows {
        return vec![Error::invalid(&path, new["spec"]["cidrs"].clone(), "field is immutable")];
    }
    let pairs = now.iter().zip(before).enumerate();
    let changed = pairs.filter_map(|(position, (now, before))| validate::immutable(now, before, &path.index(position)));
    let added = if grows { validate_ranges(new, &path) } else { ErrorList::new() };
    changed.chain(added).collect()
}
