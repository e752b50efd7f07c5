//! The standard priority levels and flow schemas.
//!
//! The mandatory ones are made and mended always. A suggested one is mended until an administrator says, by an
//! annotation or by changing it, that it is no longer the server's (Kubernetes concept: "API Priority and Fairness").

use machinery::meta;
use machinery::status::Status;
use serde_json::{Value, json};

use super::ensure_as;
use crate::api::Api;
use crate::kinds::flow_standard::{Named, mandatory_levels, mandatory_schemas, suggested_levels, suggested_schemas};

const GROUP: &str = "flowcontrol.apiserver.k8s.io";
const AUTOUPDATE: &str = "apf.kubernetes.io/autoupdate-spec";

pub async fn ensure(api: &Api) -> Result<(), Status> {
    let levels = ("prioritylevelconfigurations", "PriorityLevelConfiguration");
    let schemas = ("flowschemas", "FlowSchema");
    for (is_mandatory, kind, objects) in [
        (false, levels, suggested_levels()),
        (false, schemas, suggested_schemas()),
        (true, levels, mandatory_levels()),
        (true, schemas, mandatory_schemas()),
    ] {
        for object in objects {
            ensure_one(api, kind, object, is_mandatory).await?;
        }
    }
    Ok(())
}

async fn ensure_one(api: &Api, kind: (&str, &str), named: Named, is_mandatory: bool) -> Result<(), Status> {
    let (name, spec) = named;
    let object = json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": kind.1,
        "metadata": {"name": name, "annotations": {AUTOUPDATE: "true"}}, "spec": spec,
    });
    ensure_as(api, GROUP, kind.0, object, |old| mended(old, &spec, is_mandatory)).await
}

/// The object as it should be; itself where it is somebody's own.
fn mended(old: &Value, spec: &Value, is_mandatory: bool) -> Value {
    let mut new = old.clone();
    let is_ours = match meta::annotation(old, AUTOUPDATE) {
        Some("true") => true,
        Some("false") => false,
        _ => meta::generation(old) == 1,
    };
    // The administrator's word counts for the shares of the exempt level; all else of the mandatory ones is fixed.
    if is_mandatory || is_ours {
        let exempt = old["spec"].get("exempt").filter(|_| !is_ours).cloned();
        new["spec"] = spec.clone();
        if let Some(exempt) = exempt {
            new["spec"]["exempt"] = exempt;
        }
    }
    new
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_administrator_took_stays() {
        let object = |autoupdate: Option<&str>, generation: i64| {
            let annotations = autoupdate.map_or(json!({}), |text| json!({AUTOUPDATE: text}));
            json!({"metadata": {"annotations": annotations, "generation": generation}, "spec": {"a": 1}})
        };
        let spec = json!({"a": 2});
        for (autoupdate, generation, is_mandatory, want) in [
            (Some("true"), 5, false, 2),
            (Some("false"), 1, false, 1),
            (None, 1, false, 2),
            (None, 2, false, 1),
            (Some("false"), 2, true, 2),
        ] {
            assert_eq!(mended(&object(autoupdate, generation), &spec, is_mandatory)["spec"]["a"], want);
        }
    }
}
