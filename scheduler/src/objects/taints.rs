//! Which taints a pod's tolerations tolerate (Kubernetes concept: taints and tolerations).

use k8s_openapi::api::core::v1::Toleration as ApiToleration;

use super::node::Taint;

/// One toleration; empty fields are as the API has them: an empty key or effect fits all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Toleration {
    pub key: Box<str>,
    pub operator: Box<str>,
    pub value: Box<str>,
    pub effect: Box<str>,
}

impl From<ApiToleration> for Toleration {
    fn from(toleration: ApiToleration) -> Self {
        let text = |field: Option<String>| field.unwrap_or_default().into_boxed_str();
        Self {
            key: text(toleration.key),
            operator: text(toleration.operator),
            value: text(toleration.value),
            effect: text(toleration.effect),
        }
    }
}

impl Toleration {
    pub fn tolerates(&self, taint: &Taint) -> bool {
        if !self.effect.is_empty() && self.effect != taint.effect {
            return false;
        }
        if !self.key.is_empty() && self.key != taint.key {
            return false;
        }
        match &*self.operator {
            "" | "Equal" => self.value == taint.value,
            "Exists" => true,
            _ => false,
        }
    }
}

pub fn tolerates(tolerations: &[Toleration], taint: &Taint) -> bool {
    tolerations.iter().any(|toleration| toleration.tolerates(taint))
}

/// The first taint that keeps pods away and that nothing tolerates.
pub fn first_untolerated<'a>(taints: &'a [Taint], tolerations: &[Toleration]) -> Option<&'a Taint> {
    let keeps_away = |taint: &&Taint| matches!(&*taint.effect, "NoSchedule" | "NoExecute");
    taints.iter().filter(keeps_away).find(|taint| !tolerates(tolerations, taint))
}
