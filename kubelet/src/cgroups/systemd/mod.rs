//! Cgroups by systemd's hand: slices are units, made, changed and stopped over D-Bus (`opencontainers/cgroups/systemd`).
//!
//! Enter at [`Systemd::connect`]. Asks over the system bus: on systemd's own socket its messages come from a name that is
//! none of a connection's, which zbus does not read. What the units are held to is said in [`properties`]. Knows neither
//! pods nor files of cgroups.

pub(super) mod properties;
#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures::StreamExt as _;
use properties::Property;
use tokio::{sync::Mutex, time::Instant};
use zbus::{Connection, DynamicType, MatchRule, Message, MessageStream, OwnedObjectPath, connection::Builder, message};

const NAME: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
/// systemd makes it when it is the init system: `sd_booted(3)`.
const BOOTED: &str = "run/systemd/system";
/// For a job, and for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why a unit is not as it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "systemd not running on this host, cannot use systemd cgroups manager: there is no {path}. Boot this machine with \
         systemd, or set cgroupDriver: cgroupfs here and in the container runtime", path = path.display()
    )]
    Absent { path: PathBuf },
    #[error(
        "failed to connect to dbus, cannot use systemd cgroups manager: {problem}. Start the D-Bus system bus (Debian: apt \
         install dbus), run the kubelet as root, or set cgroupDriver: cgroupfs here and in the container runtime"
    )]
    Connect { problem: String },
    #[error("{operation} {unit}: {problem}")]
    Unit { operation: &'static str, unit: String, problem: String },
}

/// systemd's manager of units.
#[derive(Debug)]
pub struct Systemd {
    /// The address of a bus that is not the system's.
    other_bus: Option<String>,
    /// The bus may be started anew.
    connection: Mutex<Held>,
    version: u32,
}

#[derive(Debug, Default)]
struct Held {
    open: Option<Connection>,
    /// Why it could not be opened, and when that was known.
    failed: Option<(Instant, String)>,
}

impl Systemd {
    /// `root` is where /run is.
    ///
    /// # Errors
    /// That systemd does not run here, or does not answer.
    pub async fn connect(root: &Path) -> Result<Arc<Self>, Error> {
        Self::by(root, None).await
    }

    async fn by(root: &Path, other_bus: Option<String>) -> Result<Arc<Self>, Error> {
        let booted = root.join(BOOTED);
        if !booted.is_dir() {
            return Err(Error::Absent { path: booted });
        }
        let mut systemd = Self { other_bus, connection: Mutex::default(), version: 0 };
        let told = systemd.told_version().await.map_err(|problem| Error::Connect { problem })?;
        systemd.version = properties::version(&told);
        tracing::info!(version = told, "systemd makes the cgroups");
        Ok(Arc::new(systemd))
    }

    pub(super) fn version(&self) -> u32 {
        self.version
    }

    /// Makes the slice; one that is there stays as it is.
    pub(super) async fn start(&self, slice: &str, properties: &[Property]) -> Result<(), Error> {
        let failed = |problem: String| Error::Unit { operation: "unable to start unit", unit: slice.into(), problem };
        let no_others: [(&str, &[Property]); 0] = [];
        let done = self.run_job("StartTransientUnit", &(slice, "replace", properties, &no_others[..])).await;
        let result = match done {
            Ok(result) => result,
            Err(error) if is_named(&error, "UnitExists") => return Ok(()),
            Err(error) => {
                self.reset_failed(slice).await;
                return Err(failed(error.to_string()));
            }
        };
        if result == "done" {
            return Ok(());
        }
        self.reset_failed(slice).await;
        Err(failed(format!("error creating systemd unit `{slice}`: got `{result}`")))
    }

    /// Until the next boot, as everything here.
    pub(super) async fn set(&self, slice: &str, properties: &[Property]) -> Result<(), Error> {
        if properties.is_empty() {
            return Ok(());
        }
        let set = self.ask("SetUnitProperties", &(slice, true, properties)).await;
        let operation = "unable to set unit properties of";
        set.map(drop).map_err(|problem| Error::Unit { operation, unit: slice.into(), problem: problem.to_string() })
    }

    /// Stops the slice with all below it. Gone already is fine.
    pub(super) async fn stop(&self, slice: &str) -> Result<(), Error> {
        let stopped = self.run_job("StopUnit", &(slice, "replace")).await;
        if let Ok(result) = &stopped
            && result != "done"
        {
            tracing::warn!(slice, result, "a unit was not stopped as it should");
        }
        // systemd keeps a unit that failed.
        self.reset_failed(slice).await;
        match stopped {
            Err(error) if !is_named(&error, "NoSuchUnit") => {
                let problem = error.to_string();
                Err(Error::Unit { operation: "unable to stop unit", unit: slice.into(), problem })
            }
            _ => Ok(()),
        }
    }

    async fn reset_failed(&self, slice: &str) {
        if let Err(error) = self.ask("ResetFailedUnit", &slice).await {
            tracing::debug!(slice, %error, "no failed unit was reset");
        }
    }

    async fn told_version(&self) -> Result<String, String> {
        let connection = self.connection().await?;
        let body = (MANAGER, "Version");
        let asked = connection.call_method(Some(NAME), PATH, Some("org.freedesktop.DBus.Properties"), "Get", &body);
        let told = asked.await.map_err(|error| error.to_string())?;
        let told = told.body().deserialize::<zbus::Variant<'_>>().and_then(String::try_from);
        told.map_err(|error| error.to_string())
    }

    async fn ask<B>(&self, method: &'static str, body: &B) -> zbus::Result<Message>
    where
        B: serde::Serialize + DynamicType,
    {
        let connection = self.connection().await.map_err(zbus::Error::Failure)?;
        call(&connection, method, body).await
    }

    /// Calls a method that answers with a job, and waits for what comes of that.
    async fn run_job<B>(&self, method: &'static str, body: &B) -> zbus::Result<String>
    where
        B: serde::Serialize + DynamicType,
    {
        let connection = self.connection().await.map_err(zbus::Error::Failure)?;
        let rule = MatchRule::builder().msg_type(message::Type::Signal).sender(NAME).interface(MANAGER);
        let rule = rule.member("JobRemoved").build()?;
        // Before the call: a job may be over before its name is known.
        let mut removed = MessageStream::for_match_rule(rule, &connection, None).await?;
        let job = async {
            let asked = call(&connection, method, body);
            tokio::pin!(asked);
            let mut early = Vec::new();
            // The connection stands still when nobody takes its signals: they are taken while the answer is awaited, too.
            let answer = loop {
                tokio::select! {
                    answer = &mut asked => break answer?,
                    Some(signal) = removed.next() => early.push(signal?),
                }
            };
            let job: OwnedObjectPath = answer.body().deserialize()?;
            for signal in early {
                if let Some(result) = result_of(&job, &answer, &signal) {
                    return Ok(result);
                }
            }
            while let Some(signal) = removed.next().await {
                if let Some(result) = result_of(&job, &answer, &signal?) {
                    return Ok(result);
                }
            }
            Err(zbus::Error::Failure("systemd closed the connection before the job was over".into()))
        };
        let late = || Err(zbus::Error::Failure(format!("Timeout waiting for systemd: {method} took {PATIENCE:?}")));
        tokio::time::timeout(PATIENCE, job).await.unwrap_or_else(|_| late())
    }

    async fn connection(&self) -> Result<Connection, String> {
        let asked_at = Instant::now();
        let mut held = self.connection.lock().await;
        if let Some(connection) = held.open.as_ref().filter(|it| !it.is_closed()) {
            return Ok(connection.clone());
        }
        // Those who waited for an opening share its failure: one after another, each would wait as long again.
        if let Some((_, problem)) = held.failed.as_ref().filter(|(at, _)| *at >= asked_at) {
            return Err(problem.clone());
        }
        match self.open().await {
            Ok(connection) => Ok(held.open.insert(connection).clone()),
            Err(problem) => {
                held.failed = Some((Instant::now(), problem.clone()));
                Err(problem)
            }
        }
    }

    async fn open(&self) -> Result<Connection, String> {
        let builder = match &self.other_bus {
            Some(address) => Builder::address(address.as_str()),
            None => Builder::system(),
        };
        let opened = tokio::time::timeout(PATIENCE, builder.method_timeout(PATIENCE).build()).await;
        match opened {
            Ok(connection) => connection.map_err(|error| error.to_string()),
            Err(_) => Err(format!("the bus gave no answer in {PATIENCE:?}")),
        }
    }
}

async fn call<B>(connection: &Connection, method: &'static str, body: &B) -> zbus::Result<Message>
where
    B: serde::Serialize + DynamicType,
{
    connection.call_method(Some(NAME), PATH, Some(MANAGER), method, body).await
}

/// `done`, `failed`, … if the signal is about this job, and by whom the job was told. Anybody on the bus may send us what
/// looks like one.
fn result_of(job: &OwnedObjectPath, told: &Message, signal: &Message) -> Option<String> {
    let (told, signalled) = (told.header(), signal.header());
    if matches!((told.sender(), signalled.sender()), (Some(own), Some(other)) if own != other) {
        return None;
    }
    let body = signal.body();
    let (_, removed, _, result): (u32, OwnedObjectPath, &str, &str) = body.deserialize().ok()?;
    (removed == *job).then(|| result.to_owned())
}

fn is_named(error: &zbus::Error, name: &str) -> bool {
    matches!(error, zbus::Error::MethodError(told, ..) if told.strip_prefix(NAME).and_then(|it| it.strip_prefix('.')) == Some(name))
}
