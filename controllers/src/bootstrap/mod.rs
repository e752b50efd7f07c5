//! Two controllers of bootstrap tokens, by which new nodes find the cluster and prove that they may join.
//!
//! [`signer`] signs `cluster-info` with each token; [`cleaner`] deletes tokens that have expired. [`token`] is pure: what a
//! token's Secret says. Both only run when named. Reference: "Authenticating with Bootstrap Tokens".

pub(crate) mod cleaner;
pub(crate) mod signer;
mod token;
