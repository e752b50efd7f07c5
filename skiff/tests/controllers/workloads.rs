//! Deployment, StatefulSet and DaemonSet.

use serde_json::{Value, json};

use crate::support::{Object, Place, condition, name, names, story, template};

/// Lets a pod that was held back become ready.
async fn start(pod: &Object) {
    pod.merge(json!({"metadata": {"labels": {"becomes": "Running"}}})).await;
    pod.until("ready", |pod| condition(pod, "Ready").is_some()).await;
}

fn stateful_set(becomes: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"}, "spec": {
        "replicas": 3, "serviceName": "db", "selector": {"matchLabels": {"app": "db"}}, "template": template("db", becomes)}})
}

fn revision(pod: &Value) -> String {
    pod["metadata"]["labels"]["controller-revision-hash"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_stateful_set_starts_one_pod_after_the_other_and_stops_them_in_reverse() {
    story("ordered", async |place: &Place| {
        let set = place.create(stateful_set("Pending")).await;
        for (ordinal, others) in [["db-1", "db-2"], ["db-2", "db-2"], ["db-3", "db-3"]].iter().enumerate() {
            let pod = place.pod(&format!("db-{ordinal}"));
            let made = pod.until("scheduled", |pod| pod["spec"]["nodeName"].is_string()).await;
            assert_eq!(made["metadata"]["labels"]["apps.kubernetes.io/pod-index"], ordinal.to_string());
            assert_eq!(made["metadata"]["labels"]["statefulset.kubernetes.io/pod-name"], pod.name);
            assert_eq!((&made["spec"]["hostname"], &made["spec"]["subdomain"]), (&json!(pod.name), &json!("db")));
            for other in others {
                assert!(!place.pod(other).exists().await, "{other} does not come before {} is ready", pod.name);
            }
            start(&pod).await;
        }
        let all = |set: &Value| set["status"]["readyReplicas"] == 3 && set["status"]["availableReplicas"] == 3;
        set.until("three ready", all).await;

        // One that is not ready does not hold up the removal of those behind it.
        set.merge(json!({"spec": {"replicas": 1}})).await;
        place.pod("db-2").until_gone().await;
        place.pod("db-1").until_gone().await;
        set.until("one left", |set| set["status"]["replicas"] == 1).await;
        assert_eq!(names(&place.pods("app=db").await), ["db-0"]);
        place.until_told("db", "SuccessfulCreate").await;
        place.until_told("db", "SuccessfulDelete").await;
        set.delete().await;
        place.pod("db-0").until_gone().await;
    });
}

#[test]
fn a_stateful_set_is_updated_from_the_end_down_to_its_partition() {
    story("partitioned", async |place: &Place| {
        let set = place.create(stateful_set("Running")).await;
        let first = set.until("three ready", |set| set["status"]["readyReplicas"] == 3).await;
        let old = first["status"]["currentRevision"].as_str().unwrap().to_owned();
        let strategy = json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 2}});
        let template = json!({"metadata": {"annotations": {"round": "2"}}});
        set.merge(json!({"spec": {"updateStrategy": strategy, "template": template}})).await;
        let updated = |count: i64| {
            move |set: &Value| {
                let status = &set["status"];
                status["observedGeneration"] == set["metadata"]["generation"]
                    && status["updatedReplicas"] == count
                    && status["readyReplicas"] == 3
            }
        };
        let partial = set.until("the last one is new", updated(1)).await;
        assert_eq!(partial["status"]["currentRevision"], old);
        let new = partial["status"]["updateRevision"].as_str().unwrap().to_owned();
        let revisions: Vec<String> = place.pods("app=db").await.iter().map(revision).collect();
        assert_eq!(revisions, [old.as_str(), &old, &new]);
        set.merge(json!({"spec": {"updateStrategy": {"rollingUpdate": {"partition": 0}}}})).await;
        let done = set.until("all are new", |set| set["status"]["currentRevision"] == new.as_str()).await;
        assert_eq!(done["status"]["updateRevision"], new);
        assert!(place.pods("app=db").await.iter().all(|pod| revision(pod) == new));
    });
}

#[test]
fn a_daemon_set_has_a_pod_on_every_node_it_chooses() {
    story("daemons", async |place: &Place| {
        let mut template = template("agent", "Running");
        template["spec"]["nodeSelector"] = json!({"kubernetes.io/os": "linux"});
        let spec = json!({"selector": {"matchLabels": {"app": "agent"}}, "template": template});
        let object = json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "agent"}, "spec": spec});
        let set = place.create(object).await;
        let ready = |set: &Value| set["status"]["numberAvailable"] == 3 && set["status"]["updatedNumberScheduled"] == 3;
        let first = set.until("one on each node", ready).await;
        assert_eq!(first["status"]["desiredNumberScheduled"], 3);
        let pods = place.pods("app=agent").await;
        let mut nodes: Vec<&str> = pods.iter().filter_map(|pod| pod["spec"]["nodeName"].as_str()).collect();
        nodes.sort_unstable();
        assert_eq!(nodes, ["node-0", "node-1", "node-2"]);
        let tolerations = pods[0]["spec"]["tolerations"].to_string();
        assert!(tolerations.contains("node.kubernetes.io/unschedulable"), "{tolerations}");

        set.merge(json!({"spec": {"template": {"metadata": {"annotations": {"round": "2"}}}}})).await;
        let rolled = |set: &Value| set["status"]["observedGeneration"] == 2 && ready(set);
        set.until("all are new", rolled).await;
        let second = place.pods("app=agent").await;
        assert!(second.iter().all(|pod| !names(&pods).contains(&name(pod))), "every pod was replaced");
        let revisions = place.list("apps/v1", "ControllerRevision", "app=agent").await;
        let mut numbers: Vec<i64> = revisions.iter().filter_map(|r| r["revision"].as_i64()).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, [1, 2]);

        let elsewhere = json!({"spec": {"template": {"spec": {"nodeSelector": {"kubernetes.io/hostname": "node-1"}}}}});
        set.merge(elsewhere).await;
        set.until("one left", |set| {
            set["status"]["currentNumberScheduled"] == 1 && set["status"]["numberAvailable"] == 1
        })
        .await;
        set.delete().await;
        set.until_gone().await;
    });
}

#[test]
fn a_deployment_rolls_over_and_back() {
    story("rollouts", async |place: &Place| {
        let spec =
            json!({"replicas": 4, "selector": {"matchLabels": {"app": "web"}}, "template": template("web", "Running")});
        let object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec});
        let deployment = place.create(object).await;
        let complete = |generation: i64| {
            move |deployment: &Value| {
                let status = &deployment["status"];
                status["observedGeneration"] == generation
                    && ["replicas", "updatedReplicas", "availableReplicas"].iter().all(|field| status[field] == 4)
                    && condition(deployment, "Progressing") == Some("NewReplicaSetAvailable")
            }
        };
        deployment.until("four available", complete(1)).await;
        let first = place.list("apps/v1", "ReplicaSet", "app=web").await;
        assert_eq!(first.len(), 1);

        deployment.merge(json!({"spec": {"template": {"metadata": {"annotations": {"round": "2"}}}}})).await;
        let rolled = deployment.until("four new ones", complete(2)).await;
        assert_eq!(rolled["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "2");
        let sets = place.list("apps/v1", "ReplicaSet", "app=web").await;
        let old = sets.iter().find(|set| name(set) == name(&first[0])).expect("the old set is kept");
        assert_eq!(old["spec"]["replicas"], 0);
        assert_eq!(sets.len(), 2);

        deployment.merge(json!({"spec": {"template": {"metadata": {"annotations": null}}}})).await;
        let back = deployment.until("four old ones", complete(3)).await;
        assert_eq!(back["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "3");
        assert_eq!(place.list("apps/v1", "ReplicaSet", "app=web").await.len(), 2, "the first set serves again");
        place.until_told("web", "ScalingReplicaSet").await;
    });
}

#[test]
fn a_rollout_that_does_not_come_on_says_so() {
    story("stuck", async |place: &Place| {
        let spec = json!({"replicas": 2, "progressDeadlineSeconds": 1, "selector": {"matchLabels": {"app": "web"}},
            "template": template("web", "Pending")});
        let object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec});
        let deployment = place.create(object).await;
        let late = |deployment: &Value| {
            let conditions = deployment["status"]["conditions"].as_array().into_iter().flatten();
            conditions.into_iter().any(|c| c["type"] == "Progressing" && c["reason"] == "ProgressDeadlineExceeded")
        };
        deployment.until("the deadline has passed", late).await;
        deployment.merge(json!({"spec": {"template": template("web", "Running")}})).await;
        let healed = |deployment: &Value| condition(deployment, "Progressing") == Some("NewReplicaSetAvailable");
        deployment.until("healed", healed).await;
    });
}
