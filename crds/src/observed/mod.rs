//! What agents use under a policy in mode Observe: how calls are read as actions ([`aws`]), how what several pods tell is put together
//! ([`Delta`]), and the smallest policy that would let it pass ([`propose`]).
//!
//! All of it rests on what processes of the agents' pods say, who can lie: it is a suggestion, and nothing here is ever applied.

pub mod aws;
mod gather;
mod propose;

pub use gather::{Delta, MAX_ACTIONS, MAX_TEXT, Told, Use};
pub use propose::{Proposal, propose};
