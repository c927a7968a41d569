//! Stories that leave each other alone: they run side by side, each in a namespace of its own.

mod admission;
mod approvals_admission;
mod approvals_lines;
mod authors;
mod aws;
mod canary;
mod expiry;
mod identity;
mod install;
mod kubernetes;
mod lifecycle;
mod refusals;
mod samples;
