//! Audit records as they stand in a log: [`chain`] signs them with a [`key`], [`heads`] says where each chain ends, and [`verify`] finds
//! what was done to a log. No client and no program: the operator writes with it, and whoever has a log verifies with it.

pub mod chain;
pub mod command;
pub mod heads;
pub mod key;
pub mod record;
pub mod verify;
