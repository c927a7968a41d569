//! Stories that leave each other alone: they run side by side, each in a namespace of its own.

mod admission;
mod aws;
mod canary;
mod expiry;
mod install;
mod kubernetes;
mod lifecycle;
mod refusals;
mod samples;
