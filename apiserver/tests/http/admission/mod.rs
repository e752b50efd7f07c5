//! What admission fills in and refuses, as clients meet it.

mod certificates;
mod limits;
mod pod_security;
