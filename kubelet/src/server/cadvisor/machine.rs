//! The families of `/metrics/cadvisor` that tell of the machine: what is in it, no use of it
//! (`metrics/prometheus_machine.go`). Pure.
//!
//! Upstream's kubelet leaves out cAdvisor's families of NUMA nodes and caches, so they are not here. Of persistent memory
//! it tells zeros, for it is built without the library that would know.

use std::fmt::Write as _;

use super::{super::quoted::Quoted, head};
use crate::node::machine::Machine;

/// Further labels, and what stands under them.
type Values = Vec<(String, f64)>;

pub(super) fn families(machine: &Machine) -> Vec<String> {
    let topology = &machine.topology;
    let one = |value: f64| vec![(String::new(), value)];
    let modules = |value: fn(&crate::node::topology::Modules) -> u64| -> Values {
        topology.modules.iter().map(|(kind, it)| (format!(",type={}", Quoted(kind)), value(it) as f64)).collect()
    };
    let modes = ["app_direct_mode", "memory_mode"].map(|mode| (format!(",mode={}", Quoted(mode)), 0.0));
    let rows: [(&str, &str, Values); 11] = [
        ("cpu_books", "Number of CPU books.", one(0.0)),
        ("cpu_cores", "Number of logical CPU cores.", one(machine.cpus as f64)),
        ("cpu_drawers", "Number of CPU drawers.", one(0.0)),
        ("cpu_physical_cores", "Number of physical CPU cores.", one(topology.physical_cores as f64)),
        ("cpu_sockets", "Number of CPU sockets.", one(topology.sockets as f64)),
        (
            "dimm_capacity_bytes",
            "Total RAM DIMM capacity (all types memory modules) value labeled by dimm type.",
            modules(|it| it.bytes),
        ),
        (
            "dimm_count",
            "Number of RAM DIMM (all types memory modules) value labeled by dimm type.",
            modules(|it| it.count),
        ),
        ("memory_bytes", "Amount of memory installed on the machine.", one(machine.memory_bytes as f64)),
        ("nvm_avg_power_budget_watts", "NVM power budget.", one(0.0)),
        ("nvm_capacity", "NVM capacity value labeled by NVM mode (memory mode or app direct mode).", modes.into()),
        ("swap_bytes", "Amount of swap memory available on the machine.", one(machine.swap_bytes as f64)),
    ];
    let [boot, id, uuid] = [&machine.boot_id, &machine.machine_id, &machine.system_uuid].map(|it| Quoted(it));
    let labels = format!("boot_id={boot},machine_id={id},system_uuid={uuid}");
    let told = rows.into_iter().filter(|(.., values)| !values.is_empty());
    let families = told.map(|(name, help, values)| {
        let mut out = head(&format!("machine_{name}"), help, "gauge");
        for (more, value) in values {
            let _ = writeln!(out, "machine_{name}{{{labels}{more}}} {value}");
        }
        out
    });
    let error = "1 if there was an error while getting machine metrics, 0 otherwise.";
    let error = format!("{}machine_scrape_error 0\n", head("machine_scrape_error", error, "gauge"));
    families.chain([error]).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::node::topology::{Modules, Topology};

    #[test]
    fn a_machine_is_told_as_cadvisor_tells_it() {
        let modules = BTreeMap::from([("DDR4".to_owned(), Modules { count: 2, bytes: 4096 })]);
        let machine = Machine {
            cpus: 4,
            memory_bytes: 1024,
            swap_bytes: 512,
            machine_id: "m".into(),
            system_uuid: "u".into(),
            boot_id: "b".into(),
            topology: Topology { physical_cores: 2, sockets: 1, modules },
            ..Machine::default()
        };
        let text = families(&machine).concat();
        let labels = "boot_id=\"b\",machine_id=\"m\",system_uuid=\"u\"";
        for (name, more, value) in [
            ("cpu_books", "", 0),
            ("cpu_cores", "", 4),
            ("cpu_drawers", "", 0),
            ("cpu_physical_cores", "", 2),
            ("cpu_sockets", "", 1),
            ("dimm_capacity_bytes", ",type=\"DDR4\"", 4096),
            ("dimm_count", ",type=\"DDR4\"", 2),
            ("memory_bytes", "", 1024),
            ("nvm_avg_power_budget_watts", "", 0),
            ("nvm_capacity", ",mode=\"app_direct_mode\"", 0),
            ("nvm_capacity", ",mode=\"memory_mode\"", 0),
            ("swap_bytes", "", 512),
        ] {
            let wanted = format!("machine_{name}{{{labels}{more}}} {value}\n");
            assert!(text.contains(&wanted), "{wanted} in {text}");
            assert!(text.contains(&format!("# TYPE machine_{name} gauge\n")), "{name} in {text}");
        }
        assert!(text.ends_with("# TYPE machine_scrape_error gauge\nmachine_scrape_error 0\n"), "{text}");
        let without = families(&Machine::default()).concat();
        assert!(!without.contains("machine_dimm"), "of modules that nobody tells there is no family: {without}");
    }
}
