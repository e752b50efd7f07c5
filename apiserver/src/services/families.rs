//! Which IP families a Service has, and whether it may have those that it asks for (Kubernetes concept: "IPv4/IPv6
//! dual-stack", Services). Addresses are not chosen here.

use std::net::IpAddr;

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use serde_json::{Value, json};

const SINGLE: &str = "SingleStack";
const PREFER: &str = "PreferDualStack";
const REQUIRE: &str = "RequireDualStack";

/// Fills in `ipFamilyPolicy` and `ipFamilies`. `known` are the cluster's own, the one for who asks for none first; `old` is
/// null on a create.
pub fn complete(new: &mut Value, old: &Value, known: &[&str]) -> Result<(), ErrorList> {
    if prefers_the_same(new, old) {
        return Ok(());
    }
    let policy = policy(new, old);
    meta::object_mut(new, "spec").insert("ipFamilyPolicy".into(), policy.as_str().into());
    let mut errors = ErrorList::new();
    if !old.is_null() {
        errors.extend(reduce(new, old, &policy));
    }
    errors.extend(too_many_for_one(new, &policy));
    let mut families = texts(new, "ipFamilies");
    infer(new, &mut families, known, &mut errors);
    if !errors.is_empty() {
        return Err(errors);
    }
    let any = is_headless(new) && meta::map(new, "spec.selector").is_empty();
    if !any {
        let errors = not_configured(&families, &policy, known);
        if !errors.is_empty() {
            return Err(errors);
        }
    }
    if families.is_empty() {
        families.extend(known.first().map(|family| (*family).to_owned()));
    }
    // Without a selector nobody here says which addresses stand behind the name: any may.
    if policy != SINGLE && families.len() == 1 && (any || known.len() > 1) {
        families.push(if families[0] == "IPv4" { "IPv6" } else { "IPv4" }.to_owned());
    }
    meta::object_mut(new, "spec").insert("ipFamilies".into(), json!(families));
    Ok(())
}

fn texts(service: &Value, field: &str) -> Vec<String> {
    let listed = meta::list(&service["spec"], field).iter().filter_map(Value::as_str);
    listed.map(str::to_owned).collect()
}

fn is_headless(service: &Value) -> bool {
    meta::text(service, "spec.clusterIP") == "None"
}

fn at(field: &str) -> Path {
    Path::new("spec").child(field)
}

/// A preference was answered once, and is not answered anew when the cluster's families change.
fn prefers_the_same(new: &Value, old: &Value) -> bool {
    let is_same = |field: &str| new["spec"][field] == old["spec"][field];
    let old_policy = meta::text(old, "spec.ipFamilyPolicy");
    !old.is_null()
        && is_same("type")
        && meta::text(new, "spec.ipFamilyPolicy") == PREFER
        && (old_policy.is_empty() || old_policy == PREFER)
        && ["clusterIPs", "ipFamilies"].iter().all(|field| texts(new, field) == texts(old, field))
}

fn policy(new: &Value, old: &Value) -> String {
    let given = [new, old].map(|service| meta::text(service, "spec.ipFamilyPolicy"));
    let policy = match given.into_iter().find(|policy| !policy.is_empty()) {
        Some(policy) => policy,
        None if is_headless(new) && meta::map(new, "spec.selector").is_empty() => REQUIRE,
        None => SINGLE,
    };
    policy.to_owned()
}

/// Who wants one family only need not say which goes; who takes one away must want that.
fn reduce(new: &mut Value, old: &Value, policy: &str) -> ErrorList {
    let mut errors = ErrorList::new();
    for (field, what) in [("clusterIPs", "cluster IP"), ("ipFamilies", "IP family")] {
        let (now, before) = (texts(new, field), texts(old, field));
        if policy == SINGLE && now == before && now.len() > 1 {
            meta::object_mut(new, "spec").insert(field.into(), json!(now[..1]));
        } else if policy != SINGLE && !now.is_empty() && now.len() < before.len() {
            let why = format!("must be 'SingleStack' to release the secondary {what}");
            errors.push(Error::invalid(&at("ipFamilyPolicy"), policy, why));
        }
    }
    errors
}

fn too_many_for_one(new: &Value, policy: &str) -> ErrorList {
    let pairs = [("clusterIPs", "cluster IPs"), ("ipFamilies", "IP families")];
    let wrong = pairs.iter().filter(|(field, _)| policy == SINGLE && texts(new, field).len() == 2);
    let refuse = |what: &str| {
        let why = format!("must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified");
        Error::invalid(&at("ipFamilyPolicy"), policy, why)
    };
    wrong.map(|(_, what)| refuse(what)).collect()
}

/// Addresses that are asked for tell their families.
fn infer(new: &Value, families: &mut Vec<String>, known: &[&str], errors: &mut ErrorList) {
    let addresses = texts(new, "clusterIPs");
    for (position, address) in addresses.iter().enumerate().skip(families.len()) {
        let Ok(parsed) = address.parse::<IpAddr>() else { return };
        let family = super::family_of(&parsed);
        if known.contains(&family) {
            families.push(family.to_owned());
        } else {
            let why = format!("{family} is not configured on this cluster");
            errors.push(Error::invalid(&at("clusterIPs").index(position), json!(addresses), why));
        }
    }
}

fn not_configured(families: &[String], policy: &str, known: &[&str]) -> ErrorList {
    let mut errors = ErrorList::new();
    if policy == REQUIRE && known.len() < 2 {
        let why = "this cluster is not configured for dual-stack services";
        errors.push(Error::invalid(&at("ipFamilyPolicy"), policy, why));
    }
    for (position, family) in families.iter().enumerate().filter(|(_, family)| !known.contains(&family.as_str())) {
        let place = at("ipFamilies").index(position);
        errors.push(Error::invalid(&place, family.as_str(), "not configured on this cluster"));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &[&str] = &["IPv4"];
    const TWO: &[&str] = &["IPv4", "IPv6"];

    /// Policy and families, or what is wrong.
    fn told(spec: Value, old: Value, known: &[&str]) -> Value {
        let mut new = json!({"spec": spec});
        let old = if old.is_null() { old } else { json!({"spec": old}) };
        match complete(&mut new, &old, known) {
            Ok(()) => json!([new["spec"]["ipFamilyPolicy"], new["spec"]["ipFamilies"]]),
            Err(errors) => json!(errors.iter().map(ToString::to_string).collect::<Vec<_>>()),
        }
    }

    #[test]
    fn what_is_not_said_is_filled_in() {
        let selected = json!({"a": "b"});
        for (spec, known, want) in [
            (json!({}), TWO, json!([SINGLE, ["IPv4"]])),
            (json!({"clusterIPs": ["fd00::1"]}), TWO, json!([SINGLE, ["IPv6"]])),
            (json!({"ipFamilyPolicy": PREFER}), ONE, json!([PREFER, ["IPv4"]])),
            (json!({"ipFamilyPolicy": PREFER, "ipFamilies": ["IPv6"]}), TWO, json!([PREFER, ["IPv6", "IPv4"]])),
            (json!({"clusterIP": "None", "clusterIPs": ["None"]}), ONE, json!([REQUIRE, ["IPv4", "IPv6"]])),
            (
                json!({"clusterIP": "None", "clusterIPs": ["None"], "selector": selected}),
                ONE,
                json!([SINGLE, ["IPv4"]]),
            ),
        ] {
            assert_eq!(told(spec.clone(), Value::Null, known), want, "{spec}");
        }
    }

    #[test]
    fn the_cluster_has_what_is_asked_for() {
        for (spec, want) in [
            (
                json!({"clusterIPs": ["::1"]}),
                json!(["spec.clusterIPs[0]: Invalid value: [\"::1\"]: IPv6 is not configured on this cluster"]),
            ),
            (
                json!({"ipFamilyPolicy": REQUIRE, "ipFamilies": ["IPv6"]}),
                json!([
                    "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": this cluster is not configured for dual-stack services",
                    "spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster",
                ]),
            ),
            (
                json!({"ipFamilies": ["IPv4", "IPv6"]}),
                json!([
                    "spec.ipFamilyPolicy: Invalid value: \"SingleStack\": must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified"
                ]),
            ),
        ] {
            assert_eq!(told(spec.clone(), Value::Null, ONE), want, "{spec}");
        }
    }

    #[test]
    fn who_releases_a_family_says_so() {
        let both = json!({"ipFamilyPolicy": PREFER, "ipFamilies": TWO, "clusterIPs": ["10.0.0.1", "fd00::1"]});
        let mut less = both.clone();
        less["ipFamilies"] = json!(["IPv4"]);
        let why = "spec.ipFamilyPolicy: Invalid value: \"PreferDualStack\": must be 'SingleStack' to release the secondary IP family";
        assert_eq!(told(less, both.clone(), TWO), json!([why]));
        let mut single = both.clone();
        single["ipFamilyPolicy"] = json!(SINGLE);
        assert_eq!(told(single, both.clone(), TWO), json!([SINGLE, ["IPv4"]]));
        assert_eq!(told(both.clone(), both.clone(), ONE), json!([PREFER, TWO]));
    }
}
