//! The status of a ResourceClaim: what it got, who uses it, and what drivers tell of its devices.

use machinery::field::{Error, ErrorList, Path, quote};
use machinery::meta;
use serde_json::Value;

use super::super::storage::driver_name;
use super::super::{ip, pod, validate};
use super::form;
use super::request::Names;
use super::{
    CONFIGURATIONS_MAX, REQUESTS_MAX, binding_conditions, configuration, each, each_once, label, pool_name, raw_object,
};

const CONSUMERS_MAX: usize = 256;

pub fn validate(new: &Value, old: &Value) -> ErrorList {
    let (status, before, path) = (&new["status"], &old["status"], Path::new("status"));
    let names = Names(meta::list(new, "spec.devices.requests"));
    let allocation = &status["allocation"];
    let consumers = meta::list(status, "reservedFor");
    let at = path.child("reservedFor");
    let mut errors = each_once(
        consumers,
        CONSUMERS_MAX,
        &at,
        |item| item["uid"].clone(),
        |consumer, at| {
            let absent = ["resource", "name", "uid"].into_iter().filter(|field| meta::text(consumer, field).is_empty());
            absent.map(|field| Error::required(&at.child(field), "")).collect()
        },
    );
    let allocated: Vec<String> = meta::list(allocation, "devices.results").iter().map(device_id).collect();
    errors.extend(each_once(
        meta::list(status, "devices"),
        usize::MAX,
        &path.child("devices"),
        |device| device_id(device).into(),
        |device, at| device_status(device, &allocated, at),
    ));
    if !consumers.is_empty() && !allocation.is_object() {
        errors.push(Error::forbidden(&at, "may not be specified when `allocated` is not set"));
    } else if meta::is_deleting(new)
        && consumers.iter().any(|consumer| !meta::list(before, "reservedFor").contains(consumer))
    {
        let why = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set";
        errors.push(Error::forbidden(&at, why));
    }
    let at = path.child("allocation");
    match (before["allocation"].is_object(), allocation.is_object()) {
        (true, true) => {
            errors.extend(validate::immutable_as(&form::ALLOCATION, allocation, &before["allocation"], &at))
        }
        (false, true) => errors.extend(validate_allocation(allocation, &names, &at)),
        _ => {}
    }
    errors
}

/// What is told of devices that the claim no longer has goes with them.
pub fn drop_deallocated(new: &mut Value, old: &Value) {
    let results = |claim: &Value| -> Vec<String> {
        meta::list(claim, "status.allocation.devices.results").iter().map(device_id).collect()
    };
    let (now, before) = (results(new), results(old));
    let gone: Vec<String> = before.into_iter().filter(|device| !now.contains(device)).collect();
    let Some(status) = new.get_mut("status").and_then(Value::as_object_mut) else { return };
    let Some(devices) = status.get_mut("devices").and_then(Value::as_array_mut) else { return };
    devices.retain(|device| !gone.contains(&device_id(device)));
    if devices.is_empty() {
        status.remove("devices");
    }
}

fn device_id(device: &Value) -> String {
    let text = |field: &str| meta::text(device, field);
    let id = format!("{}/{}/{}", text("driver"), text("pool"), text("device"));
    if text("shareID").is_empty() { id } else { format!("{id}/{}", text("shareID")) }
}

fn validate_allocation(allocation: &Value, names: &Names<'_>, path: &Path) -> ErrorList {
    let (devices, at) = (&allocation["devices"], path.child("devices"));
    let mut errors = each(meta::list(devices, "results"), REQUESTS_MAX, &at.child("results"), |result, at| {
        let mut errors = names.reference(meta::text(result, "request"), &at.child("request"));
        errors.extend(device_names(result, at));
        errors.extend(binding_conditions(result, at));
        errors
    });
    let at = at.child("config");
    errors.extend(each(meta::list(devices, "config"), 2 * CONFIGURATIONS_MAX, &at, |item, at| {
        let sources = ["FromClaim", "FromClass"];
        let (source, source_at) = (meta::text(item, "source"), at.child("source"));
        let wrong = match source {
            "" => Some(Error::required(&source_at, "")),
            source => (!sources.contains(&source)).then(|| Error::not_supported(&source_at, source, &sources)),
        };
        let mut errors: ErrorList = wrong.into_iter().collect();
        errors.extend(names.references(item, at));
        errors.extend(configuration(item, false, at));
        errors
    }));
    if allocation["nodeSelector"].is_object() {
        errors.extend(pod::validate::node_selector(&allocation["nodeSelector"], &path.child("nodeSelector")));
    }
    errors
}

fn device_names(device: &Value, path: &Path) -> ErrorList {
    let mut errors = driver_name(meta::text(device, "driver"), &path.child("driver"));
    errors.extend(pool_name(meta::text(device, "pool"), &path.child("pool")));
    errors.extend(label(device, "device", path));
    if let Some(id) = device["shareID"].as_str() {
        errors.extend(share_id(id, &path.child("shareID")));
    }
    errors
}

fn share_id(id: &str, path: &Path) -> Option<Error> {
    let parsed = uuid::Uuid::try_parse(id);
    let why = match parsed {
        Err(_) if id.len() == 36 => "error validating uid: invalid UUID format".to_owned(),
        Err(_) => format!("error validating uid: invalid UUID length: {}", id.len()),
        Ok(parsed) if parsed.hyphenated().to_string() != id => {
            "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters".to_owned()
        }
        Ok(_) => return None,
    };
    Some(Error::invalid(path, id, why))
}

const CONDITIONS_MAX: usize = 8;

fn device_status(device: &Value, allocated: &[String], path: &Path) -> ErrorList {
    let mut errors = device_names(device, path);
    let id = device_id(device);
    if !allocated.contains(&id) {
        errors.push(Error::invalid(path, id, "must be an allocated device in the claim").showing(shown_id(device)));
    }
    let (conditions, at) = (meta::list(device, "conditions"), path.child("conditions"));
    if conditions.len() > CONDITIONS_MAX {
        errors.push(Error::too_many(&at, conditions.len(), CONDITIONS_MAX));
    }
    errors.extend(validate::meta_conditions(conditions, &at));
    if !device["data"].is_null() {
        errors.extend(raw_object(&device["data"], false, &path.child("data")));
    }
    errors.extend(network(&device["networkData"], &path.child("networkData")));
    errors
}

/// As upstream's own type has it.
fn shown_id(device: &Value) -> String {
    let text = |field: &str| quote(meta::text(device, field));
    let (driver, pool, name, share) = (text("driver"), text("pool"), text("device"), text("shareID"));
    format!("{{\"Driver\":{driver},\"Pool\":{pool},\"Device\":{name},\"ShareID\":{share}}}")
}

const ADDRESSES_MAX: usize = 16;

fn network(data: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for (field, bytes_max) in [("interfaceName", 256), ("hardwareAddress", 128)] {
        if meta::text(data, field).len() > bytes_max {
            errors.push(Error::too_long(&path.child(field), bytes_max));
        }
    }
    errors.extend(each_once(meta::list(data, "ips"), ADDRESSES_MAX, &path.child("ips"), Value::clone, |item, at| {
        ip::interface_address(item.as_str().unwrap_or_default(), at).into_iter().collect()
    }));
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(new: &Value, old: &Value) -> Vec<String> {
        validate(new, old).iter().map(Error::to_string).collect()
    }

    fn claim(status: Value) -> Value {
        json!({"spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "c"}}]}}, "status": status})
    }

    fn allocation() -> Value {
        json!({"devices": {"results": [{"request": "r", "driver": "d.io", "pool": "p", "device": "a"}]}})
    }

    #[test]
    fn an_allocation_stays() {
        let empty = claim(json!({}));
        let allocated = claim(json!({"allocation": allocation()}));
        assert_eq!(told(&allocated, &empty), [""; 0]);
        let mut other = allocated.clone();
        other["status"]["allocation"]["devices"]["results"][0]["device"] = json!("b");
        let errors = told(&other, &allocated);
        assert_eq!(errors.len(), 1);
        assert!(errors[0].ends_with("field is immutable"), "{errors:?}");
        other["status"]["allocation"]["devices"]["results"][0]["request"] = json!("x");
        assert!(
            told(&other, &empty)[0].starts_with("status.allocation.devices.results[0].request: Invalid value: \"x\"")
        );
    }

    #[test]
    fn only_allocated_claims_are_used() {
        let consumer = json!({"resource": "pods", "name": "p", "uid": "u"});
        let empty = claim(json!({}));
        assert_eq!(
            told(&claim(json!({"reservedFor": [consumer]})), &empty),
            ["status.reservedFor: Forbidden: may not be specified when `allocated` is not set"]
        );
        let twice = claim(json!({"allocation": allocation(), "reservedFor": [consumer, consumer]}));
        assert_eq!(told(&twice, &empty), ["status.reservedFor[1]: Duplicate value: \"u\""]);
    }

    #[test]
    fn what_drivers_tell() {
        let device = |name: &str| json!({"driver": "d.io", "pool": "p", "device": name, "networkData": {"ips": ["10.0.0.1/24"]}});
        let status = |name: &str| claim(json!({"allocation": allocation(), "devices": [device(name)]}));
        let allocated = claim(json!({"allocation": allocation()}));
        assert_eq!(told(&status("a"), &allocated), [""; 0]);
        assert_eq!(
            told(&status("b"), &allocated),
            [
                "status.devices[0]: Invalid value: {\"Driver\":\"d.io\",\"Pool\":\"p\",\"Device\":\"b\",\"ShareID\":\"\"}: must be an allocated device in the claim"
            ]
        );
        let mut freed = claim(json!({"devices": [device("a")]}));
        drop_deallocated(&mut freed, &status("a"));
        assert!(freed["status"]["devices"].is_null());
    }
}
