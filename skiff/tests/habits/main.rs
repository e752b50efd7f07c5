//! kubectl's own habits, from the oldest kubectl that is here to the newest: each page of `pages/` is a story of
//! commands and exactly what they print. No containers are needed; the cluster tests have pages of what needs them.

mod plane;

use std::path::Path;

use anyhow::{Context as _, Result};
use testbed::pages::{self, Stage, clients};

use plane::Plane;

#[test]
fn pages_print_what_they_say() -> Result<()> {
    let plane = Plane::start()?;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/habits");
    let stage = Stage {
        folder: plane.folder(),
        kubeconfig: &plane.kubeconfig(),
        tools: &folder.join("tools.sh"),
        bed: None,
        workers: 4,
    };
    stage.tell(clients::chosen()?, &pages::in_folder(&folder.join("pages"))?).with_context(|| plane.logs())
}
