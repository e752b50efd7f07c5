//! A small API server in memory, for the tests of whoever uses a [`kube::Client`].
