//! Tells people by HTTP what waits for them, in batches. What was told is on record in each approval's status, so that another leader
//! does not tell it again; a message whose record was cut short is told twice rather than never. No decision waits for any of this.

/// Settings.
pub mod args;
pub mod book;
pub mod due;
pub mod item;
pub mod message;
pub mod send;
mod slack;

#[cfg(test)]
mod fixtures;

use super::approval;
use super::context::Context;
use args::NotifyArgs;
use book::Book;
use exeat_runtime::backoff::Backoff;
use exeat_runtime::dns::Resolver;
use item::Item;
use message::message;
use send::{SendError, Sender};
use std::time::Duration;

/// Between tries while the receiver takes nothing.
const RETRY: Backoff = Backoff::new(Duration::from_secs(5), Duration::from_secs(300));

/// Tells people for as long as this replica leads. One message at a time.
pub(super) async fn keep(context: &Context, args: &NotifyArgs, cluster: &str) {
    let Some(sender) = Sender::new(args, Resolver::system()) else { return std::future::pending().await };
    let mut book = Book::default();
    let (mut failures, mut pause) = (0, args.notify_interval);
    loop {
        tokio::time::sleep(pause).await;
        match tell(context, args, cluster, &sender, &mut book).await {
            Ok(()) => (failures, pause) = (0, args.notify_interval),
            Err(error) => {
                pause = RETRY.delay(failures, rand::random::<f64>());
                failures = failures.saturating_add(1);
                context.metrics.notified(error.outcome());
                tracing::warn!(%error, ?pause, "people could not be told what waits for them; it is tried again");
            }
        }
    }
}

async fn tell(
    context: &Context,
    args: &NotifyArgs,
    cluster: &str,
    sender: &Sender,
    book: &mut Book,
) -> Result<(), SendError> {
    record(context, book).await;
    let due = book.due(&context.caches.approvals.state(), &args.notify_events, context.clock.now());
    if due.is_empty() || context.gate.check().is_err() {
        return Ok(());
    }
    let items: Vec<_> = due.iter().map(|(approval, notice)| Item::new(approval, *notice)).collect();
    let message = match message(args.notify_format, cluster, &items) {
        Ok(message) => message,
        Err(error) => {
            tracing::error!(%error, "a message about approvals can't be written");
            return Ok(());
        }
    };
    let host = sender.post(message.body).await?;
    context.metrics.notified("ok");
    tracing::info!(%host, approvals = message.told, "people were told what waits for them");
    book.told(due.into_iter().take(message.told));
    record(context, book).await;
    Ok(())
}

/// Puts on record what was told. What can't be is tried again before the next message.
async fn record(context: &Context, book: &mut Book) {
    for (approval, notice) in book.unrecorded() {
        match approval::notified(&approval, notice.reason(), context).await {
            Ok(true) => book.recorded(&approval),
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(%error, "what people were told is not on record yet; it is tried again");
                return;
            }
        }
    }
}
