//! What the machine has, and what pods may have of it. Pure.

use std::collections::BTreeMap;

use machinery::quantity::{Format, Quantity};

use super::machine::{Machine, Space};

/// Amounts by resource name.
pub type Amounts = BTreeMap<String, Quantity>;

/// The machine's resources; those of its disk where `space` is given.
pub fn capacity(machine: &Machine, space: Option<&Space>, max_pods: i64, pods_per_core: i64) -> Amounts {
    let pods = if pods_per_core > 0 { max_pods.min(pods_per_core.saturating_mul(machine.cpus)) } else { max_pods };
    let whole = |value| Quantity::new(value, Format::DecimalSi);
    let binary = |value| Quantity::new(value, Format::BinarySi);
    let kib = |bytes: i64| binary(bytes / 1024 * 1024);
    let mut amounts = Amounts::from([
        ("cpu".into(), whole(machine.cpus)),
        ("memory".into(), kib(machine.memory_bytes)),
        ("pods".into(), whole(pods)),
    ]);
    if let Some(space) = space {
        amounts.insert("ephemeral-storage".into(), kib(space.total_bytes));
    }
    for (size_kib, count) in &machine.hugepages {
        amounts.insert(hugepage_name(*size_kib), binary(size_kib.saturating_mul(1024).saturating_mul(*count)));
    }
    amounts
}

fn hugepage_name(size_kib: i64) -> String {
    match size_kib {
        size if size % (1024 * 1024) == 0 => format!("hugepages-{}Gi", size / 1024 / 1024),
        size if size % 1024 == 0 => format!("hugepages-{}Mi", size / 1024),
        size => format!("hugepages-{size}Ki"),
    }
}

/// What is left for pods: reservations and hard eviction thresholds taken off, never below zero.
pub fn allocatable(
    capacity: &Amounts,
    reserved: [&BTreeMap<String, String>; 2],
    eviction_hard: &BTreeMap<String, String>,
) -> Amounts {
    let mut left = less_reserved(capacity, reserved);
    for (name, signal) in [("memory", "memory.available"), ("ephemeral-storage", "nodefs.available")] {
        let text = eviction_hard.get(signal);
        if let (Some(text), Some(total), Some(amount)) = (text, capacity.get(name), left.get_mut(name)) {
            amount.sub(&threshold(text, total));
        }
    }
    // Memory that is set apart as huge pages is no one else's.
    let huge: Vec<Quantity> =
        capacity.iter().filter(|(name, _)| name.starts_with("hugepages-")).map(|(_, amount)| amount.clone()).collect();
    if let Some(memory) = left.get_mut("memory") {
        huge.iter().for_each(|amount| memory.sub(amount));
    }
    not_below_zero(left)
}

/// What is left without reservations, never below zero.
pub fn less_reserved(capacity: &Amounts, reserved: [&BTreeMap<String, String>; 2]) -> Amounts {
    let mut left = capacity.clone();
    for (name, text) in reserved.into_iter().flatten() {
        if let (Some(amount), Ok(reserved)) = (left.get_mut(name), Quantity::parse(text)) {
            amount.sub(&reserved);
        }
    }
    not_below_zero(left)
}

fn not_below_zero(mut amounts: Amounts) -> Amounts {
    for amount in amounts.values_mut().filter(|amount| amount.sign() < 0) {
        *amount = Quantity::new(0, amount.format());
    }
    amounts
}

/// A threshold, as an amount or as a percentage of the whole.
pub fn threshold(text: &str, total: &Quantity) -> Quantity {
    match text.strip_suffix('%').and_then(|percent| percent.trim().parse::<f64>().ok()) {
        Some(percent) => Quantity::new((total.value() as f64 * percent / 100.0) as i64, total.format()),
        None => Quantity::parse(text).unwrap_or_else(|_| Quantity::new(0, total.format())),
    }
}
