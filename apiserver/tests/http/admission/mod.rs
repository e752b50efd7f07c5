//! What admission fills in and refuses, as clients meet it.

mod certificates;
mod classes;
mod limits;
mod mountable_secrets;
mod owner_references;
mod places;
mod pod_security;
mod switches;
