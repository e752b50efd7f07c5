//! Why volumes of a pod could not be set up, in the words of upstream's `FailedMount` events
//! (`pkg/kubelet/volumemanager`, `pkg/volume/util/operationexecutor`). Pure.

/// What an event tells.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// One that is known. A claim's goes by the name of its PersistentVolume.
    #[error("{step} failed for volume {volume:?} : {message}")]
    Mount { step: &'static str, volume: String, message: String },
    /// What these are cannot be told (yet). Names are those of the pod's volumes.
    #[error(
        "Unable to attach or mount volumes: unmounted volumes=[{}], unattached volumes=[], \
         failed to process volumes=[{}]: {}",
        .unmounted.join(" "), .unknown.join(" "), .messages.join("; ")
    )]
    Process { unmounted: Vec<String>, unknown: Vec<String>, messages: Vec<String> },
}

pub(super) const SET_UP: &str = "MountVolume.SetUp";
pub(super) const SET_UP_DEVICE: &str = "MapVolume.SetUpDevice";

/// Why one volume could not be set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Problem {
    /// What it is cannot be told (yet).
    Unknown(String),
    /// `volume` where it goes by another name than the pod's.
    Step { step: &'static str, volume: Option<String>, message: String },
}

impl From<String> for Problem {
    fn from(message: String) -> Self {
        Self::Step { step: SET_UP, volume: None, message }
    }
}

impl From<std::io::Error> for Problem {
    fn from(error: std::io::Error) -> Self {
        error.to_string().into()
    }
}

/// All problems of a pod, each with the name of its volume there.
pub(super) fn told(problems: Vec<(String, Problem)>) -> Vec<Error> {
    let mut unmounted: Vec<String> = problems.iter().map(|(name, _)| name.clone()).collect();
    unmounted.sort();
    let (mut unknown, mut messages, mut errors) = (Vec::new(), Vec::new(), Vec::new());
    for (name, problem) in problems {
        match problem {
            Problem::Unknown(message) => {
                unknown.push(name);
                messages.push(message);
            }
            Problem::Step { step, volume, message } => {
                errors.push(Error::Mount { step, volume: volume.unwrap_or(name), message });
            }
        }
    }
    unknown.sort();
    if !messages.is_empty() {
        errors.push(Error::Process { unmounted, unknown, messages });
    }
    errors
}

#[test]
fn events_speak_as_upstreams() {
    let unknown = |message: &str| Problem::Unknown(message.to_owned());
    let missing =
        "error processing PVC ns/a: failed to fetch PVC from API server: persistentvolumeclaims \"a\" not found";
    let elsewhere = Problem::Step {
        step: "MountVolume.NodeAffinity check",
        volume: Some("pv".into()),
        message: "no matching NodeSelectorTerms".into(),
    };
    let problems = vec![
        ("b".to_owned(), unknown(missing)),
        ("c".to_owned(), elsewhere),
        ("secret".to_owned(), "secret \"absent\" not found".to_owned().into()),
        ("a".to_owned(), unknown("error processing PVC ns/b: PVC is not bound")),
    ];
    let texts: Vec<String> = told(problems).iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "MountVolume.NodeAffinity check failed for volume \"pv\" : no matching NodeSelectorTerms",
            "MountVolume.SetUp failed for volume \"secret\" : secret \"absent\" not found",
            &format!(
                "Unable to attach or mount volumes: unmounted volumes=[a b c secret], unattached volumes=[], \
                 failed to process volumes=[a b]: {missing}; error processing PVC ns/b: PVC is not bound"
            ),
        ]
    );
    assert!(told(Vec::new()).is_empty());
}
