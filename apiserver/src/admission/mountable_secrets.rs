//! Which secrets a pod may refer to whose ServiceAccount says that its own are all (annotation
//! `kubernetes.io/enforce-mountable-secrets`). Pure; upstream's words.

use machinery::meta;
use serde_json::Value;

const ANNOTATION: &str = "kubernetes.io/enforce-mountable-secrets";

/// What of an account's pods is limited; none unless it says so.
pub struct Limit<'a> {
    account: &'a Value,
}

impl<'a> Limit<'a> {
    pub fn of(account: &'a Value) -> Option<Self> {
        let says = meta::annotation(account, ANNOTATION)?;
        // As Go reads a boolean; what is none is no.
        matches!(says, "1" | "t" | "T" | "TRUE" | "true" | "True").then_some(Self { account })
    }

    /// What is not allowed of a new pod.
    pub fn refusal(&self, pod: &Value) -> Option<String> {
        let account = meta::name(self.account);
        for volume in meta::list(pod, "spec.volumes").iter().filter(|volume| volume["secret"].is_object()) {
            let name = meta::text(volume, "secret.secretName");
            if !self.has("secrets", name) {
                return Some(format!(
                    "volume with secret.secretName=\"{name}\" is not allowed because service account {account} does not reference that secret"
                ));
            }
        }
        let of_containers = self
            .of_containers(pod, "initContainers", "init container")
            .or_else(|| self.of_containers(pod, "containers", "container"));
        of_containers.or_else(|| {
            let named = meta::list(pod, "spec.imagePullSecrets").iter().map(|secret| meta::text(secret, "name"));
            let (position, name) = named.enumerate().find(|(_, name)| !self.has("imagePullSecrets", name))?;
            Some(format!(
                "imagePullSecrets[{position}].name=\"{name}\" is not allowed because service account {account} does not reference that imagePullSecret"
            ))
        })
    }

    /// What is not allowed of the containers that people look into a pod with.
    pub fn refusal_of_ephemeral(&self, pod: &Value) -> Option<String> {
        self.of_containers(pod, "ephemeralContainers", "ephemeral container")
    }

    fn of_containers(&self, pod: &Value, list: &str, called: &str) -> Option<String> {
        meta::list(&pod["spec"], list).iter().find_map(|container| self.of_container(container, called))
    }

    fn of_container(&self, container: &Value, called: &str) -> Option<String> {
        let (container_name, account) = (meta::text(container, "name"), meta::name(self.account));
        let refuse = |how: String, secret: &str| {
            Some(format!(
                "{called} {container_name} with {how} referencing secret.secretName=\"{secret}\" is not allowed because service account {account} does not reference that secret"
            ))
        };
        for variable in meta::list(container, "env") {
            let name = &variable["valueFrom"]["secretKeyRef"];
            let secret = meta::text(name, "name");
            if name.is_object() && !self.has("secrets", secret) {
                return refuse(format!("envVar {}", meta::text(variable, "name")), secret);
            }
        }
        for source in meta::list(container, "envFrom").iter().filter(|source| source["secretRef"].is_object()) {
            let secret = meta::text(source, "secretRef.name");
            if !self.has("secrets", secret) {
                return refuse("envFrom".to_owned(), secret);
            }
        }
        None
    }

    fn has(&self, list: &str, name: &str) -> bool {
        meta::list(self.account, list).iter().any(|secret| secret["name"] == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_has_its_accounts_secrets_alone() {
        let account = |annotation: &str| {
            json!({
                "metadata": {"name": "a", "annotations": {ANNOTATION: annotation}},
                "secrets": [{"name": "mine"}], "imagePullSecrets": [{"name": "pull"}],
            })
        };
        assert!(Limit::of(&account("false")).is_none() && Limit::of(&account("yes")).is_none());
        assert!(Limit::of(&json!({"metadata": {}})).is_none());
        let account = account("true");
        let told = |spec: Value| Limit::of(&account).expect("a limit").refusal(&json!({"spec": spec}));
        let because = "is not allowed because service account a does not reference that";
        let volume = |name: &str| json!({"volumes": [{"name": "v", "secret": {"secretName": name}}, {"emptyDir": {}}]});
        assert_eq!(told(volume("mine")), None);
        assert_eq!(told(volume("b")), Some(format!("volume with secret.secretName=\"b\" {because} secret")));
        let variable = json!([{"name": "V", "valueFrom": {"secretKeyRef": {"name": "b"}}}]);
        let expected = format!("init container c with envVar V referencing secret.secretName=\"b\" {because} secret");
        assert_eq!(told(json!({"initContainers": [{"name": "c", "env": variable}]})), Some(expected));
        let expected = format!("container c with envFrom referencing secret.secretName=\"b\" {because} secret");
        assert_eq!(
            told(json!({"containers": [{"name": "c", "envFrom": [{"secretRef": {"name": "b"}}]}]})),
            Some(expected)
        );
        let pulls = json!({"imagePullSecrets": [{"name": "pull"}, {"name": "mine"}]});
        assert_eq!(told(pulls), Some(format!("imagePullSecrets[1].name=\"mine\" {because} imagePullSecret")));
    }
}
