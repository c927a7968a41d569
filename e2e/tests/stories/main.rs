//! Stories that leave each other alone: they run side by side, each in a namespace of its own.

mod admission;
mod approvals_admission;
mod audit;
mod aws;
mod canary;
mod cli;
mod expiry;
mod identity;
mod install;
mod kubernetes;
mod lifecycle;
mod refusals;
mod samples;
mod silence;
mod tokens;
