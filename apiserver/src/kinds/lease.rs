//! Leases (Kubernetes concept: "Leases").

use machinery::meta;

use super::{Column, Hooks};
use crate::rest::table::{AGE, NAME, age};

pub static HOOKS: Hooks = Hooks {
    creates_on_update: true,
    updates_unconditionally: false,
    columns: &[NAME, Column { name: "Holder", kind: "string", priority: 0, description: "Who holds the lease." }, AGE],
    cells: |lease, now| {
        vec![meta::name(lease).into(), meta::text(lease, "spec.holderIdentity").into(), age(lease, now).into()]
    },
    ..Hooks::PLAIN
};
