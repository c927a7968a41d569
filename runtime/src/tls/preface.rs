//! The HTTP/2 preface, read under a deadline and handed on.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// Length of the client's connection preface (RFC 9113, 3.4).
const PREFACE: usize = 24;

/// A stream whose first bytes have been read already and are read again.
pub(super) struct Rewound<S> {
    first: [u8; PREFACE],
    replayed: usize,
    stream: S,
}

impl<S: AsyncRead + Unpin> Rewound<S> {
    /// Waits for the preface and puts it back in front of `stream`. Whether it is a right one is judged by the reader.
    pub(super) async fn after_preface(mut stream: S) -> io::Result<Self> {
        let mut first = [0; PREFACE];
        stream.read_exact(&mut first).await?;
        Ok(Self { first, replayed: 0, stream })
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.replayed == PREFACE {
            return Pin::new(&mut this.stream).poll_read(cx, buffer);
        }
        let left = &this.first[this.replayed..];
        let count = left.len().min(buffer.remaining());
        buffer.put_slice(&left[..count]);
        this.replayed += count;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewound<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
