//! logind over D-Bus.

use std::{os::fd::OwnedFd, time::Duration};

use async_trait::async_trait;
use futures::{StreamExt as _, stream::BoxStream};
use zbus::{Connection, Proxy, proxy::CacheProperties};

use super::{Error, Logind};

/// SIGHUP has logind read its configuration.
const SIGHUP: i32 = 1;

/// The system bus.
pub(crate) struct Bus(Connection);

impl Bus {
    /// # Errors
    /// That there is no system bus.
    pub(crate) async fn connect() -> Result<Self, Error> {
        Connection::system().await.map(Self).map_err(failed("connecting to the system bus"))
    }

    async fn login1(&self) -> zbus::Result<Proxy<'static>> {
        self.manager("org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager").await
    }

    async fn manager(
        &self,
        name: &'static str,
        path: &'static str,
        interface: &'static str,
    ) -> zbus::Result<Proxy<'static>> {
        zbus::proxy::Builder::new(&self.0)
            .destination(name)
            .path(path)
            .interface(interface)
            // logind does not tell when the delay changes.
            .cache_properties(CacheProperties::No)
            .build()
            .await
    }
}

fn failed(operation: &'static str) -> impl FnOnce(zbus::Error) -> Error {
    move |error| Error::Bus { operation, problem: error.to_string() }
}

#[async_trait]
impl Logind for Bus {
    async fn delay_max(&self) -> Result<Duration, Error> {
        let ask = async { self.login1().await?.get_property::<u64>("InhibitDelayMaxUSec").await };
        let failed = failed("failed reading InhibitDelayMaxUSec property from logind");
        ask.await.map(Duration::from_micros).map_err(failed)
    }

    async fn reload(&self) -> Result<(), Error> {
        let ask = async {
            let systemd = self.manager(
                "org.freedesktop.systemd1",
                "/org/freedesktop/systemd1",
                "org.freedesktop.systemd1.Manager",
            );
            systemd.await?.call::<_, _, ()>("KillUnit", &("systemd-logind.service", "all", SIGHUP)).await
        };
        ask.await.map_err(failed("unable to reload logind conf"))
    }

    async fn inhibit(&self) -> Result<OwnedFd, Error> {
        let why = ("shutdown", "kubelet", "Kubelet needs time to handle node shutdown", "delay");
        let ask = async { self.login1().await?.call::<_, _, zbus::OwnedFd>("Inhibit", &why).await };
        ask.await.map(OwnedFd::from).map_err(failed("failed creating systemd inhibitor"))
    }

    async fn going_down(&self) -> Result<BoxStream<'static, bool>, Error> {
        let ask = async { self.login1().await?.receive_signal("PrepareForShutdown").await };
        let signals = ask.await.map_err(failed("failed to monitor shutdown"))?;
        let word = |message: zbus::Message| async move {
            let word = message.body().deserialize::<bool>();
            word.inspect_err(|error| tracing::error!(%error, "PrepareForShutdown event was not bool type as expected"))
                .ok()
        };
        Ok(signals.filter_map(word).boxed())
    }
}
