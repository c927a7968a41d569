//! What the webhook does to pods and objects, from the outside.

#[cfg(test)]
mod common;
#[cfg(test)]
mod containers;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod idempotence;
#[cfg(test)]
mod observe;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod router;
#[cfg(test)]
mod shadowing;
#[cfg(test)]
mod stamps;
#[cfg(test)]
mod validation;
