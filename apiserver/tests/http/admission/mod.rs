//! What admission fills in and refuses, as clients meet it.

mod certificates;
mod pod_security;
