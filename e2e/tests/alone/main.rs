//! Stories that would disturb others: they run last, one after the other.

mod approvals;
mod attacks;
mod backstop;
mod deadline;
mod faults;
mod forged;
mod notify;
mod queue;
mod rollout;
mod rotation;
mod silence;
mod storm;
mod upgrade;
mod withheld;

/// Held by the story that runs.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
