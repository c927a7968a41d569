//! The providers against real servers: MiniStack, MinIO, OpenBao with PostgreSQL, and the cluster's own API server.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod aws;
mod gcp;
mod kubernetes;
mod support;
mod vault;
mod web_identity;
