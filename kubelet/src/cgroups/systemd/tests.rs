//! Slices over a bus of the tests' own with a systemd on it, and with a fake cgroup tree.

use std::{
    collections::BTreeSet,
    fs,
    sync::{Mutex as Shared, MutexGuard},
};

use component::shutdown::Shutdown;
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;
use tokio::{net::UnixListener, sync::watch};
use zbus::{OwnedVariant, message::Header};

use super::*;
use crate::{
    cgroups::{
        Cgroups, Hierarchy, Limits,
        naming::{Driver, Naming},
    },
    pod::worker_tests::Bed,
    status::qos,
    tidying,
};

const BUS: &str = "bus";
const JOB: &str = "/org/freedesktop/systemd1/job/7";
const OTHER_JOB: &str = "/org/freedesktop/systemd1/job/6";

/// What it was asked, and which units it has. A unit with `poor` in its name cannot be started.
#[derive(Default)]
struct State {
    log: Vec<String>,
    units: BTreeSet<String>,
    connections: Vec<Connection>,
}

struct Fake {
    root: tempfile::TempDir,
    state: Arc<Shared<State>>,
}

impl Fake {
    fn new() -> Self {
        let root = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(root.path().join(BOOTED)).expect("a folder");
        let listener = UnixListener::bind(root.path().join(BUS)).expect("a socket");
        let fake = Self { root, state: Arc::default() };
        tokio::spawn(accept(listener, fake.state.clone()));
        fake
    }

    async fn connect(&self) -> Result<Arc<Systemd>, Error> {
        by_bus(self.root.path()).await
    }

    /// A kubelet's cgroups below `sys`, whose files make it v1 or v2.
    async fn cgroups(&self) -> Cgroups {
        let hierarchy = Hierarchy::detect(&self.root.path().join("sys"));
        let cgroups = Cgroups::new(hierarchy, Naming::new(Driver::Systemd, "/"), Some(100_000));
        cgroups.with_systemd(self.connect().await.expect("it answers"))
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root.path().join("sys").join(path)).unwrap_or_default()
    }

    fn log(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.state).log)
    }
}

async fn by_bus(root: &Path) -> Result<Arc<Systemd>, Error> {
    Systemd::by(root, Some(format!("unix:path={}", root.join(BUS).display()))).await
}

fn lock(state: &Shared<State>) -> MutexGuard<'_, State> {
    state.lock().expect("a lock")
}

async fn accept(listener: UnixListener, state: Arc<Shared<State>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let builder = Builder::unix_stream(stream.into_std().expect("a stream")).p2p();
        let builder = builder.server("00112233445566778899aabbccddeeff");
        // Asked at once, by when a connection without a stream would already have lost the first call.
        let calls = builder.build_message_stream().await.expect("a connection");
        lock(&state).connections.push(Connection::from(&calls));
        tokio::spawn(serve(calls, state.clone()));
    }
}

async fn serve(mut calls: MessageStream, state: Arc<Shared<State>>) {
    let connection = Connection::from(&calls);
    while let Some(Ok(call)) = calls.next().await {
        let header = call.header();
        let method = header.member().map(ToString::to_string).unwrap_or_default();
        let answered = match method.as_str() {
            "Hello" => connection.reply(&header, &":1.1").await,
            "AddMatch" => {
                let rule: String = call.body().deserialize().expect("a rule");
                assert!(
                    rule.contains("sender='org.freedesktop.systemd1'") && rule.contains("member='JobRemoved'"),
                    "{rule}"
                );
                connection.reply(&header, &()).await
            }
            "RemoveMatch" => connection.reply(&header, &()).await,
            "Get" => connection.reply(&header, &zbus::Variant::from("252.38-1~deb12u1")).await,
            "StartTransientUnit" => start(&connection, &header, &call, &state).await,
            "StopUnit" => stop(&connection, &header, &call, &state).await,
            "SetUnitProperties" => {
                let body = call.body();
                let (unit, runtime, properties): (String, bool, Properties) = body.deserialize().expect("properties");
                assert!(runtime, "nothing outlives the boot");
                lock(&state).log.push(format!("set {unit} {}", shown(&properties)));
                connection.reply(&header, &()).await
            }
            "ResetFailedUnit" => {
                let unit: String = call.body().deserialize().expect("a unit");
                lock(&state).log.push(format!("reset {unit}"));
                connection.reply(&header, &()).await
            }
            other => panic!("nobody asks for {other}"),
        };
        answered.expect("an answer");
    }
}

type Properties = Vec<(String, OwnedVariant)>;

fn shown(properties: &Properties) -> String {
    let one = |(name, value): &(String, OwnedVariant)| format!("{name}={}", **value).replace("uint64 ", "");
    properties.iter().map(one).collect::<Vec<_>>().join(" ")
}

/// The job is over only after it was told. Others tell of it before.
async fn start(
    connection: &Connection,
    header: &Header<'_>,
    call: &Message,
    state: &Shared<State>,
) -> zbus::Result<()> {
    let (unit, mode, properties, others): (String, String, Properties, Vec<(String, Properties)>) =
        call.body().deserialize()?;
    assert_eq!((mode.as_str(), others.len()), ("replace", 0));
    if lock(state).units.contains(&unit) {
        let error = "org.freedesktop.systemd1.UnitExists";
        return connection.reply_error(header, error, &"it was loaded or has a fragment file").await;
    }
    let is_poor = unit.contains("poor");
    lock(state).log.push(format!("start {unit} {}", shown(&properties)));
    over(connection, OTHER_JOB, "other.slice", "failed").await?;
    let removed = || Message::signal(PATH, MANAGER, "JobRemoved");
    let foreign = removed().sender(":1.66").build(&(7_u32, zbus::ObjectPath::try_from(JOB)?, &unit, "canceled"))?;
    connection.send(&foreign).await?;
    connection.send(&removed().build(&"no job")?).await?;
    let answer = Message::method_return(header).sender(":1.1").build(&zbus::ObjectPath::try_from(JOB)?)?;
    connection.send(&answer).await?;
    if !is_poor {
        lock(state).units.insert(unit.clone());
    }
    over(connection, JOB, &unit, if is_poor { "failed" } else { "done" }).await
}

/// The job is over before it is told.
async fn stop(connection: &Connection, header: &Header<'_>, call: &Message, state: &Shared<State>) -> zbus::Result<()> {
    let (unit, mode): (String, String) = call.body().deserialize()?;
    assert_eq!(mode, "replace");
    if !lock(state).units.remove(&unit) {
        let error = "org.freedesktop.systemd1.NoSuchUnit";
        return connection.reply_error(header, error, &format!("Unit {unit} not loaded.")).await;
    }
    lock(state).log.push(format!("stop {unit}"));
    over(connection, JOB, &unit, "done").await?;
    connection.reply(header, &zbus::ObjectPath::try_from(JOB)?).await
}

async fn over(connection: &Connection, job: &str, unit: &str, result: &str) -> zbus::Result<()> {
    let body = (7_u32, zbus::ObjectPath::try_from(job)?, unit, result);
    connection.emit_signal(None::<&str>, PATH, MANAGER, "JobRemoved", &body).await
}

fn pod(cpu_limit: &str) -> Pod {
    serde_json::from_value(json!({"metadata": {"uid": "a-b"}, "spec": {"containers": [{"name": "c", "resources": {
        "requests": {"cpu": "100m"}, "limits": {"cpu": cpu_limit, "memory": "64Mi"}}}]}}))
    .expect("a pod")
}

const MADE: &str = "MemoryAccounting=true CPUAccounting=true IOAccounting=true TasksAccounting=true \
                    DefaultDependencies=false";
const POD: &str = "kubepods-burstable-poda_b.slice";
const POD_FOLDER: &str = "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-poda_b.slice";

#[tokio::test]
async fn slices_are_made_held_and_stopped() {
    let fake = Fake::new();
    fs::create_dir_all(fake.root.path().join("sys")).expect("a folder");
    fs::write(fake.root.path().join("sys/cgroup.controllers"), "cpu cpuset memory pids hugetlb").expect("a file");
    let cgroups = fake.cgroups().await.with_huge_pages([2048]);
    let all = Limits { memory_bytes: Some(1 << 30), cpus: Some("0-3".into()), ..Limits::default() };
    cgroups.ensure_top(&all).await.expect("the top");
    let started = |slice: &str, parent: &str| {
        format!(r#"start {slice} Description="libcontainer container {slice}" Wants=["{parent}"] {MADE}"#)
    };
    let (best_effort, burstable) = ("kubepods-besteffort.slice", "kubepods-burstable.slice");
    let wanted = [
        started("kubepods.slice", "-.slice"),
        "set kubepods.slice MemoryMax=1073741824 AllowedCPUs=[byte 0x0f]".into(),
        started(best_effort, "kubepods.slice"),
        format!("set {best_effort} CPUWeight=1"),
        started(burstable, "kubepods.slice"),
        format!("set {burstable} CPUWeight=1"),
    ];
    assert_eq!(fake.log(), wanted);
    assert_eq!(fake.read(&format!("kubepods.slice/{burstable}/hugetlb.2MB.max")), (1_i64 << 62).to_string());

    let pod = pod("123450u");
    cgroups.ensure_pod(&pod, Some(100)).await.expect("the pod");
    let held = format!(
        "set {POD} MemoryMax=67108864 CPUWeight=4 CPUQuotaPeriodUSec=100000 CPUQuotaPerSecUSec=130000 TasksMax=100"
    );
    assert_eq!(fake.log(), [started(POD, burstable), held.clone()]);
    let files = ["cpu.max", "pids.max", "hugetlb.2MB.max"].map(|file| fake.read(&format!("{POD_FOLDER}/{file}")));
    assert_eq!(files, ["13000 100000", "100", "0"], "what systemd will write, and what it does not carry");
    cgroups.ensure_pod(&pod, Some(100)).await.expect("it is there");
    assert_eq!(fake.log(), [held], "a slice that is there is not made again");

    for expected in [vec!["set kubepods-burstable.slice CPUWeight=4"], vec![]] {
        cgroups.weigh_burstable(&[Arc::new(pod.clone())]).await.expect("weighs");
        assert_eq!(fake.log(), expected, "only what is new is said");
    }
    cgroups.widen_pod(&self::pod("500m")).await.expect("widens");
    assert_eq!(fake.log(), [format!("set {POD} CPUQuotaPeriodUSec=100000 CPUQuotaPerSecUSec=500000")]);
    cgroups.hold("/kubepods.slice", &Limits { memory_bytes: Some(5), ..Limits::default() }).await.expect("holds");
    assert_eq!(fake.log(), ["set kubepods.slice MemoryMax=5"]);

    // The kernel removes a cgroup's files with it; this one is below it.
    fs::remove_dir_all(fake.root.path().join("sys").join(POD_FOLDER)).expect("the pod's");
    fs::create_dir_all(fake.root.path().join("sys").join(POD_FOLDER).join("left")).expect("a folder");
    for expected in [vec![format!("stop {POD}"), format!("reset {POD}")], vec![format!("reset {POD}")]] {
        cgroups.remove_pod(qos::BURSTABLE, "a-b").await.expect("gone, or gone already");
        assert_eq!(fake.log(), expected);
    }
    assert!(!fake.root.path().join("sys").join(POD_FOLDER).exists(), "old versions leave what is below a slice");
}

#[tokio::test]
async fn on_v1_the_older_names_are_said_and_other_controllers_get_folders() {
    let fake = Fake::new();
    for controller in ["cpu", "memory", "pids", "freezer"] {
        fs::create_dir_all(fake.root.path().join("sys").join(controller)).expect("a folder");
    }
    let cgroups = fake.cgroups().await;
    cgroups.ensure_pod(&pod("1"), None).await.expect("the pod");
    let log = fake.log();
    assert!(log[0].contains("BlockIOAccounting=true"), "{log:?}");
    let held = "MemoryLimit=67108864 CPUShares=102 CPUQuotaPeriodUSec=100000 CPUQuotaPerSecUSec=1000000";
    assert_eq!(log[1..], [format!("set {POD} {held}")]);
    assert_eq!(fake.read(&format!("cpu/{POD_FOLDER}/cpu.cfs_quota_us")), "100000");
    assert!(fake.root.path().join("sys/freezer").join(POD_FOLDER).is_dir());
}

#[tokio::test]
async fn a_unit_that_does_not_start_is_told_of_and_reset() {
    let fake = Fake::new();
    let systemd = fake.connect().await.expect("it answers");
    let error = systemd.start("poor.slice", &[]).await.expect_err("it fails");
    let wanted = "unable to start unit poor.slice: error creating systemd unit `poor.slice`: got `failed`";
    assert_eq!(error.to_string(), wanted);
    assert_eq!(fake.log(), ["start poor.slice ", "reset poor.slice"]);
}

#[tokio::test]
async fn a_systemd_that_closes_its_connections_is_asked_anew() {
    let fake = Fake::new();
    let systemd = fake.connect().await.expect("it answers");
    let first = systemd.connection().await.expect("a connection");
    let served = lock(&fake.state).connections.pop().expect("one connection");
    served.close().await.expect("closes");
    first.closed().await;
    systemd.set("a.slice", &[("TasksMax", zbus::Variant::from(1_u64))]).await.expect("by another connection");
    assert_eq!(fake.log(), ["set a.slice TasksMax=1"]);
}

#[tokio::test]
async fn without_systemd_it_is_said_what_is_missing_and_what_to_do() {
    let root = tempfile::tempdir().expect("a folder");
    let error = by_bus(root.path()).await.expect_err("no systemd").to_string();
    assert!(error.starts_with("systemd not running on this host, cannot use systemd cgroups manager: "), "{error}");
    assert!(
        error.contains("run/systemd/system. Boot this machine with systemd, or set cgroupDriver: cgroupfs"),
        "{error}"
    );
    fs::create_dir_all(root.path().join(BOOTED)).expect("a folder");
    let error = by_bus(root.path()).await.expect_err("no bus").to_string();
    assert!(error.starts_with("failed to connect to dbus, "), "{error}");
    assert!(error.contains("No such file or directory"), "{error}");
    assert!(error.contains("Start the D-Bus system bus"), "{error}");
}

/// A bus that takes connections, and never says a word.
struct Silent {
    root: tempfile::TempDir,
    listener: UnixListener,
}

impl Silent {
    fn new() -> Self {
        let root = tempfile::tempdir().expect("a folder");
        let listener = UnixListener::bind(root.path().join(BUS)).expect("a socket");
        Self { root, listener }
    }

    fn systemd(&self) -> Systemd {
        let address = format!("unix:path={}", self.root.path().join(BUS).display());
        Systemd { other_bus: Some(address), connection: Mutex::default(), version: 252 }
    }
}

#[tokio::test(start_paused = true)]
async fn all_that_wait_for_a_silent_bus_wait_together() {
    let bus = Silent::new();
    let (systemd, start) = (bus.systemd(), Instant::now());
    let (first, second) = tokio::join!(systemd.connection(), systemd.connection());
    assert_eq!(first.expect_err("no answer"), "the bus gave no answer in 30s");
    assert_eq!(second.expect_err("no answer either"), "the bus gave no answer in 30s");
    assert!(start.elapsed() < PATIENCE * 2, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_kubelet_that_ends_does_not_wait_for_a_silent_bus() {
    let bus = Silent::new();
    let mut bed = Bed::new();
    let hierarchy = Hierarchy::V2(bus.root.path().into());
    let cgroups = Cgroups::new(hierarchy, Naming::new(Driver::Systemd, "/"), None);
    bed.cgroups = Some(cgroups.with_systemd(Arc::new(bus.systemd())));
    let (looked, looks) = watch::channel(false);
    let (shutdown, start) = (Shutdown::new(), Instant::now());
    let tidying = tokio::spawn(tidying::run(looks, bed.node(), |_| false, shutdown.clone()));
    looked.send_replace(true);
    let asked = bus.listener.accept().await.expect("it is asked");
    shutdown.trigger();
    drop(looked);
    tidying.await.expect("it ends");
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
    drop(asked);
}
