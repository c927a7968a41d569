//! A Lease in memory with the API server's conditional writes, and requests that fail in every way they can.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use tokio::time::sleep;

use super::super::election::BoxedRun;
use super::super::{LeaseStore, StoreError};

/// What happens to one request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// The request takes `way` to arrive, and its answer `back`.
    Slow { way: Duration, back: Duration },
    /// Never arrives; no answer.
    Lost,
    /// Arrives after `way`, even if the caller has given up by then; no answer.
    Late { way: Duration },
    /// Refused by something on the way.
    Refused,
    /// Takes effect, but the caller is told that it failed.
    Misreported,
}

/// The stored Lease. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Server {
    state: Arc<Mutex<(Option<Lease>, u64)>>,
}

impl Server {
    pub(super) fn lease(&self) -> Option<Lease> {
        self.state.lock().unwrap().0.clone()
    }

    /// A person's edit.
    pub(super) fn edit(&self, edit: impl FnOnce(&mut Lease)) {
        let mut lease = self.lease().unwrap();
        edit(&mut lease);
        self.replace(&lease).unwrap();
    }

    pub(super) fn delete(&self) {
        self.state.lock().unwrap().0 = None;
    }

    fn create(&self, lease: &Lease) -> Result<Lease, StoreError> {
        let mut state = self.state.lock().unwrap();
        if state.0.is_some() {
            return Err(StoreError::Conflict);
        }
        Ok(store(&mut state, lease))
    }

    fn replace(&self, lease: &Lease) -> Result<Lease, StoreError> {
        let mut state = self.state.lock().unwrap();
        let Some(stored) = state.0.clone() else {
            return Err(StoreError::Conflict);
        };
        let version = lease.metadata.resource_version.as_ref();
        assert!(version.is_some(), "an unconditional write");
        if version != stored.metadata.resource_version.as_ref() {
            return Err(StoreError::Conflict);
        }
        // The API server takes an unchanged object for no write.
        if *lease == stored { Ok(stored) } else { Ok(store(&mut state, lease)) }
    }
}

fn store(state: &mut (Option<Lease>, u64), lease: &Lease) -> Lease {
    state.1 += 1;
    let mut lease = lease.clone();
    lease.metadata.resource_version = Some(state.1.to_string());
    state.0 = Some(lease.clone());
    lease
}

/// One candidate's way to the server: its next requests meet these faults, later ones none.
#[derive(Clone, Default)]
pub(super) struct Link {
    pub(super) server: Server,
    faults: Arc<Mutex<VecDeque<Fault>>>,
}

impl Link {
    pub(super) fn to(server: &Server) -> Self {
        Self { server: server.clone(), faults: Arc::default() }
    }

    pub(super) fn fail(&self, faults: impl IntoIterator<Item = Fault>) {
        self.faults.lock().unwrap().extend(faults);
    }

    pub(super) fn heal(&self) {
        self.faults.lock().unwrap().clear();
    }

    async fn request<T: Send + 'static>(
        &self,
        apply: impl FnOnce(&Server) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let fault = self.faults.lock().unwrap().pop_front();
        let server = self.server.clone();
        match fault {
            None => apply(&server),
            Some(Fault::Slow { way, back }) => {
                sleep(way).await;
                let answer = apply(&server);
                sleep(back).await;
                answer
            }
            Some(Fault::Lost) => std::future::pending().await,
            Some(Fault::Late { way }) => {
                tokio::spawn(async move {
                    sleep(way).await;
                    let _ = apply(&server);
                });
                std::future::pending().await
            }
            Some(Fault::Refused) => Err(StoreError::Unavailable("refused".to_owned())),
            Some(Fault::Misreported) => {
                let _ = apply(&server);
                Err(StoreError::Unavailable("connection reset".to_owned()))
            }
        }
    }
}

impl LeaseStore for Link {
    async fn get(&self) -> Result<Option<Lease>, StoreError> {
        self.request(|server| Ok(server.lease())).await
    }

    async fn create(&self, lease: &Lease) -> Result<Lease, StoreError> {
        let lease = lease.clone();
        self.request(move |server| server.create(&lease)).await
    }

    async fn replace(&self, lease: &Lease) -> Result<Lease, StoreError> {
        let lease = lease.clone();
        self.request(move |server| server.replace(&lease)).await
    }
}

/// Stops a candidate's task as SIGSTOP or a starved node would, while time goes on.
#[derive(Clone, Default)]
pub(super) struct Brake {
    state: Arc<Mutex<(bool, Option<Waker>)>>,
}

impl Brake {
    pub(super) fn set(&self, stopped: bool) {
        let mut state = self.state.lock().unwrap();
        state.0 = stopped;
        if let Some(waker) = state.1.take() {
            waker.wake();
        }
    }
}

pub(super) struct Braked {
    pub(super) run: BoxedRun,
    pub(super) brake: Brake,
}

impl Future for Braked {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        {
            let mut state = self.brake.state.lock().unwrap();
            state.1 = Some(context.waker().clone());
            if state.0 {
                return Poll::Pending;
            }
        }
        self.run.as_mut().poll(context)
    }
}
