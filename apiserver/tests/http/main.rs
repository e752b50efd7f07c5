//! The server over HTTP, as clients meet it: every verb and view, and what it refuses.
//!
//! [`client`] sends requests and reads answers and watches; [`secure`] starts a server with certificates and RBAC.

#[path = "../store_common/etcd.rs"]
mod etcd;
#[path = "../support/mod.rs"]
mod support;

mod admission;
mod aggregation;
mod audit;
mod audit_webhook;
mod bootstrap;
mod claims;
mod client;
mod components;
mod deletes;
mod discovery;
mod ending;
mod fairness;
mod features;
mod generic;
mod identity;
mod impersonation;
mod in_process;
mod kinds;
mod limits;
mod lists;
mod lost_answers;
mod metrics;
mod nodes;
mod objects;
mod patches;
mod pods;
mod refusals;
mod repair;
mod reviews;
mod rights;
mod routes;
mod secure;
mod selectors;
mod services;
mod storage;
mod streams;
mod tables;
mod tls_server;
mod updates;
mod validator;
mod versions;
mod watches;
mod wire;
mod workloads;
