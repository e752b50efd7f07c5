//! Volumes that outlive pods: claims are bound to volumes, volumes are made and reclaimed, both are kept while in use.
//!
//! One folder for seven controllers. [`binder`] is upstream's persistentvolume-binder; [`attach`] has volumes attached to
//! nodes; [`protection`] keeps what is in use; [`classes`] does so for their classes of attributes; [`ephemeral`] makes the
//! claims of pods' own volumes; [`expand`] tells whom a larger claim waits for. [`facts`] and [`matching`] are pure and know
//! what a claim and a volume are to each other. Nothing here mounts anything.
//! Concepts: "Persistent Volumes", "Storage Classes", "Ephemeral Volumes".

pub(crate) mod attach;
pub(crate) mod binder;
pub(crate) mod classes;
pub(crate) mod ephemeral;
pub(crate) mod expand;
mod facts;
mod matching;
mod pods;
pub(crate) mod protection;
mod written;
