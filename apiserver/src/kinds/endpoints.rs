//! Endpoints and EndpointSlices: where a Service's traffic goes (Kubernetes concept: "EndpointSlices").

use machinery::meta;
use serde_json::Value;

use super::defaults::{each, set};
use super::{Column, Hooks};
use crate::rest::table::{AGE, NAME, age};

const fn column(name: &'static str, description: &'static str) -> Column {
    Column { name, kind: "string", priority: 0, description }
}

pub static ENDPOINTS: Hooks = Hooks {
    default: |endpoints| {
        let Some(fields) = endpoints.as_object_mut() else { return };
        for subset in each(fields, "subsets") {
            each(subset, "ports").for_each(|port| set(port, "protocol", "TCP"));
        }
    },
    creates_on_update: true,
    columns: &[NAME, column("Endpoints", "Addresses and ports."), AGE],
    cells: |endpoints, now| vec![meta::name(endpoints).into(), addresses(endpoints).into(), age(endpoints, now).into()],
    ..Hooks::PLAIN
};

pub static SLICE: Hooks = Hooks {
    default: |slice| {
        let Some(fields) = slice.as_object_mut() else { return };
        for port in each(fields, "ports") {
            set(port, "protocol", "TCP");
            if port.get("name").is_none_or(Value::is_null) {
                port.insert("name".into(), "".into());
            }
        }
    },
    has_generation: true,
    columns: &[
        NAME,
        column("AddressType", "Kind of the addresses."),
        column("Ports", "The ports."),
        column("Endpoints", "The addresses."),
        AGE,
    ],
    cells: |slice, now| {
        vec![
            meta::name(slice).into(),
            meta::text(slice, "addressType").into(),
            slice_ports(slice).into(),
            slice_addresses(slice).into(),
            age(slice, now).into(),
        ]
    },
    ..Hooks::PLAIN
};

const SHOWN_MAX: usize = 3;

fn limited(all: &[String], none: &str) -> String {
    match all.len() {
        0 => none.to_owned(),
        count if count > SHOWN_MAX => format!("{} + {} more...", all[..SHOWN_MAX].join(","), count - SHOWN_MAX),
        _ => all.join(","),
    }
}

fn addresses(endpoints: &Value) -> String {
    let mut all = Vec::new();
    for subset in meta::list(endpoints, "subsets") {
        let ports = meta::list(subset, "ports");
        for address in meta::list(subset, "addresses").iter().filter_map(|address| address["ip"].as_str()) {
            if ports.is_empty() {
                all.push(address.to_owned());
            }
            all.extend(ports.iter().map(|port| format!("{address}:{}", port["port"])));
        }
    }
    limited(&all, "<none>")
}

fn slice_ports(slice: &Value) -> String {
    let all: Vec<String> = meta::list(slice, "ports")
        .iter()
        .map(|port| match port["port"].as_i64() {
            Some(number) => number.to_string(),
            None => port["name"].as_str().unwrap_or("*").to_owned(),
        })
        .collect();
    limited(&all, "<unset>")
}

fn slice_addresses(slice: &Value) -> String {
    let endpoints = meta::list(slice, "endpoints").iter();
    let all: Vec<String> = endpoints
        .flat_map(|endpoint| meta::list(endpoint, "addresses"))
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    limited(&all, "<unset>")
}
