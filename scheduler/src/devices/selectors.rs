//! Whether a device is what an expression asks for. Expressions are read once.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use expressions::{Program, Value};
use k8s_openapi::api::resource::v1::{DeviceAttribute, DeviceSelector};
use machinery::quantity::Quantity;

use super::pools::Found;

/// More than this many different expressions are read anew.
const KEPT_MAX: usize = 1024;

/// What became of reading an expression.
type Read = Arc<Result<Program, String>>;

#[derive(Default)]
pub struct Selectors(RefCell<HashMap<Box<str>, Read>>);

impl std::fmt::Debug for Selectors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Selectors").field(&self.0.borrow().len()).finish()
    }
}

impl Selectors {
    fn program(&self, expression: &str) -> Read {
        let mut kept = self.0.borrow_mut();
        if let Some(known) = kept.get(expression) {
            return known.clone();
        }
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        let program = Arc::new(Program::new(expression));
        kept.insert(expression.into(), program.clone());
        program
    }

    /// Whether all hold of the device. The error is upstream's, without whose selectors these are.
    pub(super) fn match_all(&self, selectors: Option<&[DeviceSelector]>, found: Found<'_>) -> Result<bool, String> {
        for (number, selector) in selectors.into_iter().flatten().enumerate() {
            let Some(cel) = &selector.cel else {
                return Err(format!("selector #{number}: CEL expression empty (unsupported selector type?)"));
            };
            let program = self.program(&cel.expression);
            let program = (*program).as_ref();
            let program = program.map_err(|why| format!("selector #{number}: CEL compile error: {why}"))?;
            let holds = program.holds(&[("device", value(found))]);
            if !holds.map_err(|why| format!("selector #{number}: CEL runtime error: {why}"))? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The device as expressions see it.
fn value(found: Found<'_>) -> Value {
    let (driver, device) = (&found.slice.spec.driver, found.device);
    let attributes = device.attributes.iter().flatten().filter_map(|(name, held)| Some((name, attribute(held)?)));
    let capacity = device
        .capacity
        .iter()
        .flatten()
        .filter_map(|(name, held)| Some((name, Value::Quantity(Quantity::parse(&held.value.0).ok()?))));
    let shared = device.allow_multiple_allocations == Some(true);
    Value::Map(BTreeMap::from([
        ("driver".to_owned(), Value::Text(driver.clone())),
        ("allowMultipleAllocations".to_owned(), Value::Bool(shared)),
        ("attributes".to_owned(), by_domain(attributes, driver)),
        ("capacity".to_owned(), by_domain(capacity, driver)),
    ]))
}

/// Names without a domain are of the driver's.
fn by_domain<'a>(entries: impl Iterator<Item = (&'a String, Value)>, driver: &str) -> Value {
    let mut domains: BTreeMap<String, BTreeMap<String, Value>> = BTreeMap::new();
    for (name, value) in entries {
        let (domain, name) = name.split_once('/').unwrap_or((driver, name));
        domains.entry(domain.to_owned()).or_default().insert(name.to_owned(), value);
    }
    Value::Open(domains.into_iter().map(|(domain, values)| (domain, Value::Map(values))).collect())
}

fn attribute(held: &DeviceAttribute) -> Option<Value> {
    let text = || held.string.clone().map(Value::Text);
    let version = || held.version.as_deref().and_then(|text| Value::version(text).ok());
    held.int.map(Value::Int).or(held.bool.map(Value::Bool)).or_else(text).or_else(version)
}
