//! One control plane with hollow nodes for all stories of this file that run at the same time, a namespace for each.

use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use component::shutdown::Shutdown;
use futures::StreamExt as _;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::wait::await_condition;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::hollow::nodes;
use crate::hollow::plane::Plane;

/// Far more than anything here takes; a failure only, never a measure.
const DEADLINE: Duration = Duration::from_secs(30);
const STORY_DEADLINE: Duration = Duration::from_secs(90);
const NODES: usize = 3;

/// API server, controller manager, scheduler and hollow nodes in this process.
pub struct Cluster {
    pub client: Client,
    pub shutdown: Shutdown,
    pub plane: Plane,
    runtime: Option<Runtime>,
}

impl Cluster {
    /// The one that runs, or a new one. It ends with the last story that uses it.
    fn shared() -> Arc<Self> {
        static RUNNING: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());
        let mut running = RUNNING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        running.upgrade().unwrap_or_else(|| {
            let cluster = Arc::new(Self::start());
            *running = Arc::downgrade(&cluster);
            cluster
        })
    }

    fn start() -> Self {
        let runtime = Runtime::new().unwrap();
        let shutdown = Shutdown::new();
        let (client, plane) = runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let plane = Plane::new(listener.local_addr().unwrap()).unwrap();
            api_server(&plane, listener, &shutdown);
            let client = plane.master("admin").unwrap();
            ready(&client).await;
            nodes::register(&client, NODES).await.unwrap();
            controller_manager(&plane, &shutdown);
            scheduler(&plane, &shutdown);
            tokio::spawn(nodes::run(plane.master("kubelets").unwrap(), shutdown.clone()));
            (client, plane)
        });
        Self { client, shutdown, plane, runtime: Some(runtime) }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.shutdown.trigger();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
    }
}

fn api_server(plane: &Plane, listener: TcpListener, shutdown: &Shutdown) {
    let values = apiserver::flags().parse(plane.api_server_flags()).unwrap();
    let options = apiserver::Options::from_flags(&values).unwrap();
    let mut seams = apiserver::Seams::system(shutdown.clone());
    seams.listener = Some(listener);
    tokio::spawn(async move { apiserver::run(options, seams).await.expect("the API server runs") });
}

fn controller_manager(plane: &Plane, shutdown: &Shutdown) {
    let values = controllers::flags().parse(plane.controller_manager_flags()).unwrap();
    let options = controllers::Options::from_flags(&values).unwrap();
    let seams = controllers::Seams::system(shutdown.clone());
    tokio::spawn(async move { controllers::run(options, seams).await.expect("the controllers run") });
}

fn scheduler(plane: &Plane, shutdown: &Shutdown) {
    let values = scheduler::flags().parse(plane.scheduler_flags()).unwrap();
    let options = scheduler::Options::from_flags(values).unwrap();
    let seams = scheduler::Seams::system(shutdown.clone());
    tokio::spawn(async move { scheduler::run(options, seams).await.expect("the scheduler runs") });
}

/// Before it serves there is nothing to watch: asked again until it says yes.
async fn ready(client: &Client) {
    let ready = async {
        let request = || http::Request::get("/readyz").body(Vec::new()).unwrap();
        while client.request_text(request()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, ready).await.expect("the API server is ready");
}

/// Tells a story in a namespace of its own.
pub fn story(namespace: &str, tell: impl AsyncFnOnce(&Place)) {
    let cluster = Cluster::shared();
    let place = Place { cluster: cluster.clone(), namespace: namespace.to_owned() };
    let runtime = cluster.runtime.as_ref().expect("it runs until it is dropped");
    let told = async {
        place.create(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})).await;
        // Pods are refused before their namespace has one.
        place.object("v1", "ServiceAccount", "default").until("made", |_| true).await;
        tell(&place).await;
    };
    let told = runtime.block_on(async { tokio::time::timeout(STORY_DEADLINE, told).await });
    told.expect("the story comes to its end in time");
}

/// A namespace of the cluster.
pub struct Place {
    pub cluster: Arc<Cluster>,
    pub namespace: String,
}

impl Place {
    fn api(&self, api_version: &str, kind: &str) -> Api<DynamicObject> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        let client = self.cluster.client.clone();
        match kind {
            "Namespace"
            | "Node"
            | "PersistentVolume"
            | "StorageClass"
            | "PriorityClass"
            | "ClusterRole"
            | "APIService"
            | "CertificateSigningRequest"
            | "DeviceClass"
            | "ResourceSlice"
            | "ServiceCIDR"
            | "CSIDriver"
            | "VolumeAttachment" => Api::all_with(client, &resource),
            _ => Api::namespaced_with(client, &self.namespace, &resource),
        }
    }

    pub fn object(&self, api_version: &str, kind: &str, name: &str) -> Object {
        Object { api: self.api(api_version, kind), name: name.to_owned() }
    }

    /// An object of a kind with namespaces, in another one.
    pub fn elsewhere(&self, namespace: &str, api_version: &str, kind: &str, name: &str) -> Object {
        let there = Place { cluster: self.cluster.clone(), namespace: namespace.to_owned() };
        there.object(api_version, kind, name)
    }

    pub fn pod(&self, name: &str) -> Object {
        self.object("v1", "Pod", name)
    }

    pub async fn create(&self, object: Value) -> Object {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let api = self.api(&text(&object["apiVersion"]), &text(&object["kind"]));
        let object: DynamicObject = serde_json::from_value(object).unwrap();
        let made = api.create(&PostParams::default(), &object).await.unwrap();
        Object { api, name: made.name_any() }
    }

    /// What the API answers to an object that it does not keep.
    pub async fn post(&self, path: &str, object: &Value) -> Value {
        let request = http::Request::post(path).header("content-type", "application/json");
        let request = request.body(serde_json::to_vec(object).unwrap()).unwrap();
        self.cluster.client.request(request).await.unwrap()
    }

    /// What the API answers to an object that it refuses.
    pub async fn refused(&self, object: Value) -> kube::core::Status {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let api = self.api(&text(&object["apiVersion"]), &text(&object["kind"]));
        let object: DynamicObject = serde_json::from_value(object).unwrap();
        match api.create(&PostParams::default(), &object).await {
            Err(kube::Error::Api(status)) => *status,
            other => panic!("not refused: {other:?}"),
        }
    }

    /// Objects of a kind by label, ordered by name.
    pub async fn list(&self, api_version: &str, kind: &str, labels: &str) -> Vec<Value> {
        self.object(api_version, kind, "").all(labels).await
    }

    pub async fn pods(&self, labels: &str) -> Vec<Value> {
        self.list("v1", "Pod", labels).await
    }

    /// Waits for an event about an object; they are written behind what they tell of.
    pub async fn until_told(&self, about: &str, reason: &str) {
        let fields = format!("involvedObject.name={about},reason={reason}");
        self.first("v1", "Event", watcher::Config::default().fields(&fields)).await;
    }

    /// Waits for an object of a kind with these labels.
    pub async fn until_made(&self, api_version: &str, kind: &str, labels: &str) -> Object {
        self.first(api_version, kind, watcher::Config::default().labels(labels)).await
    }

    /// Waits, by a watch, for the first object that it shows.
    async fn first(&self, api_version: &str, kind: &str, wanted: watcher::Config) -> Object {
        let what = format!("{kind} {:?} {:?}", wanted.field_selector, wanted.label_selector);
        let mut seen = std::pin::pin!(watcher(self.api(api_version, kind), wanted).applied_objects());
        match tokio::time::timeout(DEADLINE, seen.next()).await {
            Ok(Some(Ok(object))) => self.object(api_version, kind, &object.name_any()),
            other => panic!("there is no {what}: {other:?}"),
        }
    }
}

/// One object in the API, by name.
#[derive(Clone)]
pub struct Object {
    api: Api<DynamicObject>,
    pub name: String,
}

impl Object {
    pub async fn get(&self) -> Value {
        serde_json::to_value(self.api.get(&self.name).await.unwrap()).unwrap()
    }

    /// Waits, by a watch, until the condition is met; returns the object that meets it.
    pub async fn until(&self, what: &str, met: impl Fn(&Value) -> bool) -> Value {
        let value = |object: &DynamicObject| serde_json::to_value(object).unwrap();
        let waiting = await_condition(self.api.clone(), &self.name, |object: Option<&DynamicObject>| {
            object.is_some_and(|object| met(&value(object)))
        });
        match tokio::time::timeout(DEADLINE, waiting).await {
            Ok(found) => value(&found.unwrap().unwrap()),
            Err(_) => panic!("{} never: {what}: {:#?}", self.name, self.api.get(&self.name).await.map(|o| value(&o))),
        }
    }

    pub async fn until_gone(&self) {
        let gone = await_condition(self.api.clone(), &self.name, |object: Option<&DynamicObject>| object.is_none());
        if tokio::time::timeout(DEADLINE, gone).await.is_err() {
            panic!("{} never goes: {:#?}", self.name, self.api.get(&self.name).await);
        }
    }

    pub async fn exists(&self) -> bool {
        self.api.get_opt(&self.name).await.unwrap().is_some()
    }

    pub async fn merge(&self, patch: Value) -> Value {
        let patched = self.api.patch(&self.name, &PatchParams::default(), &Patch::Merge(patch)).await;
        serde_json::to_value(patched.unwrap()).unwrap()
    }

    pub async fn merge_subresource(&self, subresource: &str, patch: Value) {
        let patch = Patch::Merge(patch);
        self.api.patch_subresource(subresource, &self.name, &PatchParams::default(), &patch).await.unwrap();
    }

    /// Objects of the same kind and place, by label.
    pub async fn all(&self, labels: &str) -> Vec<Value> {
        let list = self.api.list(&ListParams::default().labels(labels)).await.unwrap();
        list.items.into_iter().map(|object| serde_json::to_value(object).unwrap()).collect()
    }

    pub async fn delete(&self) {
        self.delete_with(&DeleteParams::background()).await;
    }

    pub async fn delete_with(&self, how: &DeleteParams) {
        self.api.delete(&self.name, how).await.unwrap();
    }
}

/// A pod template whose pods come to a phase, see [`nodes`].
pub fn template(app: &str, becomes: &str) -> Value {
    let policy = if matches!(becomes, "Succeeded" | "Failed") { "Never" } else { "Always" };
    json!({"metadata": {"labels": {"app": app, "becomes": becomes}}, "spec": {
        "restartPolicy": policy, "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}}}]}})
}

/// A condition of an object's status with status True: its reason.
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a str> {
    let mut conditions = object["status"]["conditions"].as_array()?.iter();
    let met = conditions.find(|c| c["type"] == kind && c["status"] == "True")?;
    Some(met["reason"].as_str().unwrap_or_default())
}

pub fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

pub fn names(objects: &[Value]) -> Vec<&str> {
    objects.iter().map(name).collect()
}
