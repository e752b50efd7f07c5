//! PodTemplates: a template that stands alone.

use machinery::field::{ErrorList, Path};
use machinery::meta;
use serde_json::Value;

use super::column;
use super::template::{self, container_cells, labels_cell};
use crate::kinds::Hooks;
use crate::rest::table::NAME;

pub static POD_TEMPLATE: Hooks = Hooks {
    pod: Some("template"),
    default: |object| {
        if let Some(fields) = object.as_object_mut() {
            template::default(fields);
        }
    },
    validate: judge,
    warnings: |object| template::warnings(&object["template"], &Path::new("template")),
    has_generation: true,
    columns: &[
        NAME,
        column("Containers", "string", 0, "Names of each container in the template."),
        column("Images", "string", 0, "Images referenced by each container in the template."),
        column("Pod Labels", "string", 0, "The labels for the pod template."),
    ],
    cells: |object, _| {
        let [containers, images] = container_cells(meta::at(object, "template.spec"));
        let labels = labels_cell(meta::at(object, "template.metadata.labels"));
        vec![meta::name(object).into(), containers, images, labels]
    },
    ..Hooks::PLAIN
};

fn judge(object: &Value) -> ErrorList {
    template::validate(&object["template"], &Path::new("template"))
}
