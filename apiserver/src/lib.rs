//! The API over a store: kube-apiserver as a library.
//!
//! Enter by [`flags`], [`Options::from_flags`] and [`run`]. A request's way is in [`server`]; the verbs are in
//! [`rest`], what is special about a kind in [`kinds`], what is kept in [`store`], what is read from in [`cache`].
//! No controller logic lives here, and nothing is known of containers.

mod admission;
mod aggregation;
mod api;
mod audit;
mod authn;
mod authz;
mod blocking;
mod bootstrap;
mod browsers;
pub mod cache;
mod catalogue;
mod compress;
mod connect;
mod discovery;
mod end;
mod errors;
mod fairness;
mod flags;
mod gates;
mod go_json;
mod health;
mod http_body;
mod index;
mod keys;
mod kinds;
mod limits;
mod metrics;
mod openapi;
mod options;
mod parts;
mod paths;
mod protobuf;
pub mod request;
mod rest;
mod run;
mod runtime_config;
mod server;
mod services;
mod serving;
pub mod store;
mod stored;
mod unbuilt;

pub use self::flags::flags;
pub use self::options::{Options, OptionsError};
pub use self::run::{Error, InProcess, Local, Seams, run};
