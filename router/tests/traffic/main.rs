//! Policies with real packets: a bridge with pods in namespaces of their own, and a skiff-router beside them.
//!
//! Each test takes its own network namespace, so it needs root; nothing of the machine's own is touched.

mod cases;
mod nodes;
mod world;
