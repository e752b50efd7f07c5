//! CSIStorageCapacities: how much a driver can still hold, and where.

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::names;
use machinery::quantity::Quantity;

use super::super::go_form::{LABEL_SELECTOR, TEXT};
use super::super::{Hooks, MetadataRounds, node_labels, validate};
use crate::rest::table::{CREATED_COLUMNS, created_cells};

pub static HOOKS: Hooks = Hooks {
    metadata: MetadataRounds::BOTH,
    validate: |capacity| {
        let mut errors = validate::label_selector(&capacity["nodeTopology"], &Path::new("nodeTopology"));
        let class = meta::text(capacity, "storageClassName");
        errors.extend(validate::named(class, names::dns_subdomain, &Path::new("storageClassName")));
        if let Ok(amount) = Quantity::from_value(&capacity["capacity"])
            && amount.sign() < 0
        {
            let why = "must be greater than or equal to 0";
            errors.push(Error::invalid(&Path::new("capacity"), amount.to_string(), why));
        }
        errors
    },
    validate_update: |new, old| -> ErrorList {
        let fields = [("nodeTopology", LABEL_SELECTOR), ("storageClassName", TEXT)].into_iter();
        fields
            .filter_map(|(field, form)| validate::immutable_as(&form, &new[field], &old[field], &Path::new(field)))
            .collect()
    },
    warnings: |capacity| node_labels::selector_warnings(&capacity["nodeTopology"], &Path::new("nodeTopology")),
    updates_unconditionally: false,
    columns: CREATED_COLUMNS,
    cells: created_cells,
    ..Hooks::PLAIN
};
