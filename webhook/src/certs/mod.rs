//! The webhook's server certificate: made and renewed by ourselves, or read from files that something else renews.

pub mod bundle;
pub mod files;
pub mod own;
pub mod root;

#[cfg(test)]
mod fake;
