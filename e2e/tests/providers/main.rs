//! The providers against real servers: MiniStack, MinIO, OpenBao with PostgreSQL, the cluster's own API server, and a stand-in for Entra ID.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod aws;
mod azure;
mod kubernetes;
mod support;
mod vault;
mod web_identity;
