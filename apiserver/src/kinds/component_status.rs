//! ComponentStatus: what `kubectl get componentstatuses` shows. Who is asked is in [`crate::rest`].

use machinery::meta;
use serde_json::Value;

use super::{Hooks, text_column};
use crate::rest::table::NAME;

pub static HOOKS: Hooks = Hooks {
    columns: &[
        NAME,
        text_column("Status", "Status of the component conditions"),
        text_column("Message", "Message of the component conditions"),
        text_column("Error", "Error of the component conditions"),
    ],
    cells: |status, _| {
        let health = meta::list(status, "conditions").iter().find(|condition| condition["type"] == "Healthy");
        let text = |field: &str| health.and_then(|health| health[field].as_str()).unwrap_or_default();
        let word = match health {
            None => "Unknown",
            Some(health) if health["status"] == "True" => "Healthy",
            Some(_) => "Unhealthy",
        };
        [meta::name(status), word, text("message"), text("error")].map(Value::from).to_vec()
    },
    ..Hooks::PLAIN
};

#[test]
fn shows_how_a_component_is() {
    let cells = |conditions: Value| {
        let status = serde_json::json!({"metadata": {"name": "scheduler"}, "conditions": conditions});
        (HOOKS.cells)(&status, 0)
    };
    for (conditions, shown) in [
        (serde_json::json!([]), ["scheduler", "Unknown", "", ""]),
        (
            serde_json::json!([{"type": "Healthy", "status": "True", "message": "ok"}]),
            ["scheduler", "Healthy", "ok", ""],
        ),
        (
            serde_json::json!([{"type": "Healthy", "status": "False", "error": "gone"}]),
            ["scheduler", "Unhealthy", "", "gone"],
        ),
    ] {
        assert_eq!(cells(conditions), shown);
    }
}
