//! Selectors of devices: expressions of the Common Expression Language over one `device`.

use expressions::{ANY, Declarations, Type};
use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use serde_json::Value;

const SELECTORS_MAX: usize = 32;
const EXPRESSION_BYTES_MAX: usize = 10 * 1024;
const COST_MAX: u64 = 1_000_000;

/// Most entries of a device's maps, and most letters of their parts.
const ENTRIES_MAX: u64 = 32;
const DOMAIN_LENGTH_MAX: u64 = 63;
const VALUE_LENGTH_MAX: u64 = 64;

const DEVICE: &str = "kubernetes.DRADevice";

pub fn all(object: &Value, path: &Path) -> ErrorList {
    super::each(meta::list(object, "selectors"), SELECTORS_MAX, &path.child("selectors"), |selector, at| {
        let (cel, at) = (&selector["cel"], at.child("cel"));
        match cel.is_object() {
            true => expression(meta::text(cel, "expression"), &at.child("expression")).into_iter().collect(),
            false => vec![Error::required(&at, "")],
        }
    })
}

fn expression(source: &str, path: &Path) -> Option<Error> {
    if source.len() > EXPRESSION_BYTES_MAX {
        return Some(Error::too_long(path, EXPRESSION_BYTES_MAX));
    }
    match expressions::compile(source, &declarations(), size) {
        Err(told) => Some(Error::invalid(path, source, format!("compilation failed: {told}"))),
        Ok(compiled) if !compiled.result.is_named("bool") && compiled.result != ANY => {
            let why = format!("must evaluate to bool or the unknown type, not {}", compiled.result);
            Some(Error::invalid(path, source, why))
        }
        Ok(compiled) if compiled.cost_max > COST_MAX => Some(Error::forbidden(path, "too complex, exceeds cost limit")),
        Ok(_) => None,
    }
}

fn declarations() -> Declarations {
    // By domain, then by name.
    Declarations {
        variables: vec![("device", Type::named(DEVICE))],
        fields: |of, field| {
            let by_domain = |value: Type| Type::map(Type::named("string"), Type::map(Type::named("string"), value));
            match field {
                _ if of != DEVICE => None,
                "driver" => Some(Type::named("string")),
                "allowMultipleAllocations" => Some(Type::named("bool")),
                "attributes" => Some(by_domain(ANY)),
                "capacity" => Some(by_domain(Type::named("kubernetes.Quantity"))),
                _ => None,
            }
        },
    }
}

fn size(path: &[String]) -> Option<u64> {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    match path.as_slice() {
        ["device", "driver"] => Some(DOMAIN_LENGTH_MAX),
        ["device", "allowMultipleAllocations"] => Some(1),
        ["device", "attributes" | "capacity"] | ["device", "attributes" | "capacity", _] => match path.last() {
            Some(&"@keys") => Some(DOMAIN_LENGTH_MAX),
            _ => Some(ENTRIES_MAX),
        },
        ["device", "attributes" | "capacity", _, _] => Some(VALUE_LENGTH_MAX),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(source: &str) -> Option<String> {
        expression(source, &Path::new("e")).map(|error| error.to_string())
    }

    #[test]
    fn good_selectors_are_taken() {
        for source in [
            "true",
            "device.driver == 'gpu.example.com'",
            "device.attributes['gpu.example.com'].model == 'A' && device.capacity['gpu.example.com'].memory.compareTo(quantity('40Gi')) >= 0",
            "cel.bind(gpu, device.attributes['gpu.example.com'], gpu.fast && gpu.model.startsWith('A'))",
            "device.attributes['x.example.com'].isFast",
            "'gpu.example.com' in device.attributes",
            "device.attributes.exists(domain, domain == 'a')",
            "device.allowMultipleAllocations",
            "device.attributes['a'].version.isGreaterThan(semver('1.0.0'))",
        ] {
            assert_eq!(told(source), None, "{source}");
        }
    }

    #[test]
    fn bad_selectors_are_refused() {
        for (source, words) in [
            ("1", "e: Invalid value: \"1\": must evaluate to bool or the unknown type, not int"),
            (
                "device.attributes",
                "e: Invalid value: \"device.attributes\": must evaluate to bool or the unknown type, not map(string, map(string, any))",
            ),
            (
                "device.attributes.all(a, device.attributes.all(b, device.attributes.all(c, device.attributes.all(d, a != d))))",
                "e: Forbidden: too complex, exceeds cost limit",
            ),
        ] {
            assert_eq!(told(source).as_deref(), Some(words));
        }
        assert!(told("device.color == 'x'").is_some_and(|told| told.contains("undefined field 'color'")));
    }
}
