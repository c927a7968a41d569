//! Fuzzing on stable Rust.
//!
//! A [`Target`] takes an input and says what came of it: a class, or what its oracle found wrong. The [`engine`] takes the
//! checked-in inputs (`corpus/TARGET`), then changes them, of JSON the tree and of all else the bytes, and keeps what reaches a
//! new class. Everything follows from the seed. Without coverage from the compiler the classes must be fine enough to guide: they
//! are made of reason codes, statuses and the shape of the answer.

pub mod corpus;
pub mod engine;
mod http;
mod installation;
mod mutate;
mod naive;
pub mod random;
mod targets;

pub use engine::{Failure, Limits, Report, Target};
pub use targets::{ALL, named};
