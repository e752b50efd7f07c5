//! The rights of the controller manager's identity.
//!
//! Upstream's bootstrap policy has a role for each controller and expects each to come with a ServiceAccount of its own
//! (`--use-service-account-credentials`). Here all controllers share the manager's identity, so it gets the sum of those
//! roles, no more.

use anyhow::{Context as _, Result};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, RoleRef, Subject};
use kube::api::{ListParams, ObjectMeta, PostParams};
use kube::{Api, ResourceExt as _};

const NAME: &str = "skiff:kube-controller-manager";
const USER: &str = "system:kube-controller-manager";
const ROLES: &str = "system:controller:";

/// Makes the role and its binding, or brings the role up to date.
pub(crate) async fn ensure(client: kube::Client) -> Result<()> {
    let roles: Api<ClusterRole> = Api::all(client.clone());
    let all = roles.list(&ListParams::default()).await.context("list the cluster's roles")?.items;
    let rules = sum(&all);
    match all.into_iter().find(|role| role.name_any() == NAME) {
        Some(role) if role.rules.as_ref() == Some(&rules) => {}
        Some(role) => {
            let role = ClusterRole { rules: Some(rules), ..role };
            roles.replace(NAME, &PostParams::default(), &role).await.context("update the controllers' role")?;
        }
        None => {
            let role = ClusterRole { metadata: metadata(), rules: Some(rules), ..ClusterRole::default() };
            created(roles.create(&PostParams::default(), &role).await).context("make the controllers' role")?;
        }
    }
    let bindings: Api<ClusterRoleBinding> = Api::all(client);
    created(bindings.create(&PostParams::default(), &binding()).await).context("bind the controllers' role")
}

fn sum(roles: &[ClusterRole]) -> Vec<PolicyRule> {
    let controllers = roles.iter().filter(|role| role.name_any().starts_with(ROLES));
    let mut rules = Vec::new();
    for rule in controllers.flat_map(|role| role.rules.iter().flatten()) {
        if !rules.contains(rule) {
            rules.push(rule.clone());
        }
    }
    rules
}

fn binding() -> ClusterRoleBinding {
    let group = "rbac.authorization.k8s.io".to_owned();
    ClusterRoleBinding {
        metadata: metadata(),
        role_ref: RoleRef { api_group: Some(group.clone()), kind: "ClusterRole".into(), name: NAME.into() },
        subjects: Some(vec![Subject {
            api_group: Some(group),
            kind: "User".into(),
            name: USER.into(),
            namespace: None,
        }]),
    }
}

fn metadata() -> ObjectMeta {
    ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() }
}

/// One that is there already is as good.
fn created<T>(result: kube::Result<T>) -> Result<()> {
    match result {
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        other => other.map(|_| ()).map_err(anyhow::Error::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_controllers_roles_are_summed_and_each_rule_once() {
        let rule = |verb: &str| PolicyRule { verbs: vec![verb.into()], ..PolicyRule::default() };
        let role = |name: &str, verbs: &[&str]| ClusterRole {
            metadata: ObjectMeta { name: Some(name.into()), ..ObjectMeta::default() },
            rules: Some(verbs.iter().map(|verb| rule(verb)).collect()),
            ..ClusterRole::default()
        };
        let roles = [
            role("system:controller:a", &["get", "list"]),
            role("system:controller:b", &["list"]),
            role("edit", &["create"]),
        ];
        assert_eq!(sum(&roles), [rule("get"), rule("list")]);
    }
}
