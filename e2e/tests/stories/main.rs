//! Stories that leave each other alone: they run side by side, each in a namespace of its own.

mod admission;
mod approvals;
mod approvals_admission;
mod approvals_certificates;
mod approvals_end;
mod approvals_lines;
mod approvals_quota;
mod audit;
mod authors;
mod aws;
mod canary;
mod cli;
mod expiry;
mod first_hour;
mod identity;
mod install;
mod kill_switch;
mod kubernetes;
mod lifecycle;
mod observe;
mod refusals;
mod samples;
mod silence;
mod tokens;
mod vault;
