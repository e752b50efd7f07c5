//! What a slice is made with and held to, as systemd's properties. Pure.

use zbus::Variant;

use super::super::Limits;

pub(in super::super) type Property = (&'static str, Variant<'static>);

/// `CPUQuotaPeriodUSec` came with it.
const KNOWS_QUOTA_PERIOD: u32 = 242;
/// `AllowedCPUs` came with it.
const KNOWS_CPUS: u32 = 244;
/// systemd counts a quota in whole percent of a CPU: microseconds per second.
const PERCENT_US: i64 = 10_000;
const SECOND_US: i64 = 1_000_000;
const INFINITY: u64 = u64::MAX;

/// The number in `252.38-1~deb12u1`, `v245.4-1.fc32`; zero where there is none.
pub(super) fn version(told: &str) -> u32 {
    let told = told.trim_start_matches(['"', 'v']);
    told.split(|it: char| !it.is_ascii_digit()).next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// Of a new slice. `parent` is the slice that it stands in.
pub(in super::super) fn of_new(slice: &str, parent: &str, is_v2: bool) -> Vec<Property> {
    let io_accounting = if is_v2 { "IOAccounting" } else { "BlockIOAccounting" };
    let accounting = ["MemoryAccounting", "CPUAccounting", io_accounting, "TasksAccounting"];
    let mut properties = vec![
        ("Description", Variant::from(format!("libcontainer container {slice}"))),
        ("Wants", Variant::from(vec![parent.to_owned()])),
    ];
    properties.extend(accounting.map(|name| (name, Variant::from(true))));
    properties.push(("DefaultDependencies", Variant::from(false)));
    properties
}

/// Of limits that are in whole percent. Huge pages are not systemd's business.
pub(in super::super) fn of_limits(limits: &Limits, is_v2: bool, version: u32) -> Vec<Property> {
    let or_infinity = |value: i64| u64::try_from(value).unwrap_or(INFINITY);
    let number = |value: u64| Variant::from(value);
    let mut properties = Vec::new();
    if let Some(bytes) = limits.memory_bytes {
        properties.push((if is_v2 { "MemoryMax" } else { "MemoryLimit" }, number(or_infinity(bytes))));
    }
    if let Some(shares) = limits.cpu_shares {
        let (name, value) =
            if is_v2 { ("CPUWeight", super::super::limits::cpu_weight(shares)) } else { ("CPUShares", shares) };
        properties.push((name, number(or_infinity(value))));
    }
    if let Some((quota_us, period_us)) = limits.cpu_quota_us.zip(limits.cpu_period_us) {
        if version >= KNOWS_QUOTA_PERIOD {
            properties.push(("CPUQuotaPeriodUSec", number(or_infinity(period_us))));
        }
        let per_second = if quota_us > 0 { or_infinity(per_second_us(quota_us, period_us)) } else { INFINITY };
        properties.push(("CPUQuotaPerSecUSec", number(per_second)));
    }
    if let Some(pids) = limits.pids_max {
        // It does not take zero.
        properties.push(("TasksMax", number(or_infinity(pids).max(1))));
    }
    if let Some(cpus) = limits.cpus.as_deref().filter(|_| is_v2 && version >= KNOWS_CPUS) {
        properties.push(("AllowedCPUs", Variant::from(bits(cpus))));
    }
    properties
}

/// The quota as systemd will write it: a pod's children must be able to have all of it.
pub(in super::super) fn in_whole_percent(limits: &Limits) -> Limits {
    let mut limits = limits.clone();
    if let Some((quota_us, period_us)) = limits.cpu_quota_us.zip(limits.cpu_period_us)
        && quota_us > 0
        && (quota_us.saturating_mul(SECOND_US) / period_us.max(1)) % PERCENT_US != 0
    {
        limits.cpu_quota_us = Some(per_second_us(quota_us, period_us).saturating_mul(period_us) / SECOND_US);
    }
    limits
}

fn per_second_us(quota_us: i64, period_us: i64) -> i64 {
    let exact = quota_us.saturating_mul(SECOND_US) / period_us.max(1);
    exact.saturating_add(PERCENT_US - 1) / PERCENT_US * PERCENT_US
}

/// A list of CPUs (`0-3,8`), the first in the lowest bit of the first byte.
fn bits(cpus: &str) -> Vec<u8> {
    let mut bits = Vec::new();
    for range in cpus.split(',').map(str::trim).filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (Ok(first), Ok(last)) = (first.parse::<u16>(), last.parse::<u16>()) else { continue };
        for cpu in first..=last {
            let at = usize::from(cpu / 8);
            if bits.len() <= at {
                bits.resize(at + 1, 0);
            }
            bits[at] |= 1 << (cpu % 8);
        }
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers are 64 bits wide, or systemd refuses them.
    fn shown(properties: &[Property]) -> Vec<String> {
        let one = |(name, value): &Property| match value {
            Variant::U64(number) => format!("{name}={number}"),
            other => format!("{name}={other}"),
        };
        properties.iter().map(one).collect()
    }

    #[test]
    fn a_slice_is_counted_and_stands_in_its_parent() {
        let made = of_new("kubepods-burstable.slice", "kubepods.slice", false);
        let wanted = [
            r#"Description="libcontainer container kubepods-burstable.slice""#,
            r#"Wants=["kubepods.slice"]"#,
            "MemoryAccounting=true",
            "CPUAccounting=true",
            "BlockIOAccounting=true",
            "TasksAccounting=true",
            "DefaultDependencies=false",
        ];
        assert_eq!(shown(&made), wanted);
        assert_eq!(shown(&of_new("a.slice", "-.slice", true))[4], "IOAccounting=true");
    }

    #[test]
    fn limits_are_said_in_the_words_of_either_version() {
        let limits = Limits {
            cpu_shares: Some(512),
            cpu_quota_us: Some(50_000),
            cpu_period_us: Some(100_000),
            memory_bytes: Some(1 << 20),
            pids_max: Some(0),
            huge_pages: vec![("2MB".into(), 0)],
            cpus: Some("0-1,8".into()),
        };
        let v1 = ["MemoryLimit=1048576", "CPUShares=512", "CPUQuotaPeriodUSec=100000", "CPUQuotaPerSecUSec=500000"];
        assert_eq!(shown(&of_limits(&limits, false, 252)), [&v1[..], &["TasksMax=1"]].concat());
        let v2 = ["MemoryMax=1048576", "CPUWeight=20", "CPUQuotaPerSecUSec=500000", "TasksMax=1"];
        assert_eq!(shown(&of_limits(&limits, true, 241)), v2, "an old systemd");
        let of_new = shown(&of_limits(&limits, true, 244));
        assert_eq!(of_new.last().map(String::as_str), Some("AllowedCPUs=[byte 0x03, 0x01]"));
        let none = Limits {
            cpu_quota_us: Some(-1),
            cpu_period_us: Some(100_000),
            memory_bytes: Some(-1),
            pids_max: Some(-1),
            ..Limits::default()
        };
        let infinity = u64::MAX;
        let wanted = [
            format!("MemoryMax={infinity}"),
            "CPUQuotaPeriodUSec=100000".into(),
            format!("CPUQuotaPerSecUSec={infinity}"),
            format!("TasksMax={infinity}"),
        ];
        assert_eq!(shown(&of_limits(&none, true, 252)), wanted);
        assert_eq!(of_limits(&Limits { cpu_period_us: Some(1), ..Limits::default() }, true, 252), [], "says nothing");
    }

    #[test]
    fn quotas_are_rounded_up_to_whole_percent() {
        for (quota_us, period_us, whole, per_second) in [
            (50_000, 100_000, 50_000, 500_000),
            (12_345, 100_000, 13_000, 130_000),
            (1_000, 100_000, 1_000, 10_000),
            (333, 10_000, 400, 40_000),
            (-1, 100_000, -1, -1),
        ] {
            let limits = Limits { cpu_quota_us: Some(quota_us), cpu_period_us: Some(period_us), ..Limits::default() };
            let limits = in_whole_percent(&limits);
            assert_eq!(limits.cpu_quota_us, Some(whole), "{quota_us} of {period_us}");
            let per_second = u64::try_from(per_second).unwrap_or(u64::MAX);
            let said = shown(&of_limits(&limits, true, 252));
            assert_eq!(said[1], format!("CPUQuotaPerSecUSec={per_second}"), "{quota_us} of {period_us}");
        }
    }

    #[test]
    fn versions_are_read_as_distributions_write_them() {
        for (told, wanted) in
            [("252.38-1~deb12u1", 252), ("v245.4-1.fc32", 245), ("\"v245", 245), ("256~rc1", 256), ("x", 0)]
        {
            assert_eq!(version(told), wanted, "{told}");
        }
    }
}
