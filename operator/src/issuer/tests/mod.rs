//! The issuer's own steps, run against an API server in memory that changes between any two of them.

mod approvals;
mod floods;
mod gone;
mod holders;
mod learn;
mod orphans;
mod races;
mod several;
mod stops;
mod world;
