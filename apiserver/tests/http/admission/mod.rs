//! What admission fills in and refuses, as clients meet it.

mod certificates;
mod classes;
mod limits;
mod owner_references;
mod pod_security;
mod switches;
