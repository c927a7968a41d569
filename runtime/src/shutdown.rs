//! One orderly way out: the first SIGTERM or SIGINT drains, a second aborts.

use std::io;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// Exit status after a second SIGINT: 128 + 2, as shells report it.
const ABORTED_BY_SIGINT: i32 = 130;
/// Exit status after a second SIGTERM: 128 + 15, as shells report it.
const ABORTED_BY_SIGTERM: i32 = 143;

/// Tells every part of a process when to drain. Clones share the state, which never goes back.
#[derive(Clone, Debug)]
pub struct Shutdown {
    signalled: Arc<watch::Sender<bool>>,
}

impl Shutdown {
    /// A shutdown that only [`Shutdown::trigger`] starts.
    pub fn manual() -> Self {
        Self { signalled: Arc::new(watch::Sender::new(false)) }
    }

    /// A shutdown that the first SIGTERM or SIGINT starts. A second one, of either kind, ends the process at once
    /// with status 143 or 130, so that a hung drain never needs a SIGKILL.
    ///
    /// # Errors
    /// When the signal handlers can't be installed. Must be called inside a tokio runtime.
    pub fn on_signals() -> io::Result<Self> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let shutdown = Self::manual();
        let drain = shutdown.clone();
        tokio::spawn(async move {
            let status = next(&mut terminate, &mut interrupt).await;
            tracing::info!(signal = status - 128, "draining; a second signal aborts");
            drain.trigger();
            let status = next(&mut terminate, &mut interrupt).await;
            tracing::warn!(signal = status - 128, "second signal: aborting");
            std::process::exit(status);
        });
        Ok(shutdown)
    }

    /// Starts the drain. Idempotent.
    pub fn trigger(&self) {
        self.signalled.send_replace(true);
    }

    /// Whether the drain has started.
    pub fn is_signalled(&self) -> bool {
        *self.signalled.borrow()
    }

    /// Completes when the drain starts; at once if it has.
    pub async fn wait(&self) {
        let mut receiver = self.signalled.subscribe();
        // The sender lives as long as `self`, so waiting can't fail.
        let _ = receiver.wait_for(|signalled| *signalled).await;
    }
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal) -> i32 {
    tokio::select! {
        _ = terminate.recv() => ABORTED_BY_SIGTERM,
        _ = interrupt.recv() => ABORTED_BY_SIGINT,
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[test]
    fn waiting_ends_with_the_trigger_and_stays_ended_for_every_clone() {
        let shutdown = Shutdown::manual();
        let clone = shutdown.clone();
        let mut context = Context::from_waker(Waker::noop());
        let mut wait = pin!(clone.wait());
        assert!(!clone.is_signalled());
        assert_eq!(wait.as_mut().poll(&mut context), Poll::Pending);
        shutdown.trigger();
        shutdown.trigger();
        assert!(clone.is_signalled());
        assert_eq!(wait.as_mut().poll(&mut context), Poll::Ready(()));
        assert_eq!(pin!(shutdown.wait()).poll(&mut context), Poll::Ready(()));
    }
}
