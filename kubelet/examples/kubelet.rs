//! The kubelet alone, for trials: `cargo run -p kubelet --example kubelet -- --kubeconfig=…`.

use std::{error::Error, process::ExitCode};

use component::{logging, shutdown::Shutdown};

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let values = kubelet::flags().parse(std::env::args().skip(1))?;
    logging::start(logging::Settings::from_flags(&values)?);
    values.warn();
    let options = kubelet::Options::from_flags(&values)?;
    kubelet::run(options, kubelet::Seams::system(Shutdown::from_signals()?)).await?;
    Ok(())
}
