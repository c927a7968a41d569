//! A thread of its own for writes that may block: a reader of standard output that has stopped must not stop the programs' other work,
//! nor their end.

use super::{Entry, Sink, SinkError};
use async_trait::async_trait;
use std::io;
use std::sync::mpsc;
use tokio::sync::oneshot;

/// Writes in a blocking way.
pub trait Writer: Send + 'static {
    /// Writes all of `batch`. After an error it is called again with the same records, perhaps with more behind them.
    ///
    /// # Errors
    /// When not all was written.
    fn write(&mut self, batch: &[Entry]) -> io::Result<()>;
}

type Job = (Vec<Entry>, oneshot::Sender<io::Result<()>>);

/// A local sink: a [`Writer`] in its thread.
pub struct Threaded {
    jobs: mpsc::Sender<Job>,
}

impl Threaded {
    /// Starts the thread. It ends with this value, or with the process.
    ///
    /// # Errors
    /// When the machine gives no thread.
    pub fn start(mut writer: impl Writer) -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        std::thread::Builder::new().name("audit".to_owned()).spawn(move || {
            for (batch, done) in queue {
                // Nobody waits any more only when the process ends.
                let _ = done.send(writer.write(&batch));
            }
        })?;
        Ok(Self { jobs })
    }
}

#[async_trait]
impl Sink for Threaded {
    fn is_local(&self) -> bool {
        true
    }

    async fn deliver(&mut self, batch: Vec<Entry>) -> Result<(), SinkError> {
        let (done, written) = oneshot::channel();
        self.jobs.send((batch, done)).map_err(|_| SinkError::Ended)?;
        Ok(written.await.map_err(|_| SinkError::Ended)??)
    }
}
