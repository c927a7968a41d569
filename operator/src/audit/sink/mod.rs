//! Where records go.

mod file;
mod http;
mod lines;
mod thread;

pub use file::{FileSettings, Folder};
pub use http::{HttpError, HttpSettings, HttpSink};
pub use lines::Lines;
pub use thread::{Threaded, Writer};

use super::spool::Entry;
use async_trait::async_trait;

/// Why a sink did not take a batch. It is offered again, perhaps with more behind it.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The local sink failed.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The remote sink failed.
    #[error("{0}")]
    Http(#[from] HttpError),
    /// The thread that writes is gone.
    #[error("the thread that writes audit records has ended")]
    Ended,
}

/// Takes records.
#[async_trait]
pub trait Sink: Send {
    /// Whether [`Sink::deliver`] is quick enough for an intent to wait for it.
    fn is_local(&self) -> bool;

    /// Takes all of `batch`, which is in the order of the chain.
    ///
    /// # Errors
    /// When it is not certain that all of it was taken.
    async fn deliver(&mut self, batch: Vec<Entry>) -> Result<(), SinkError>;
}
