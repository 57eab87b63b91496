//! A TCP proxy between an agent and its aggregator that counts bytes and can close all connections.
//!
//! It reads only the headers of the TLS records (RFC 8446, 5.1), which are not encrypted. The handshake is over when the
//! client has sent its first encrypted record, its Finished. If a client splits that flight into several records, the later
//! ones are counted as the agent's, and so are the server's session tickets.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::Result;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

const APPLICATION_DATA: u8 = 23;

/// The proxy.
pub struct Proxy {
    /// The port to which the agent connects.
    pub port: u16,
    counted: Arc<Counted>,
    close: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Counted {
    connections: AtomicU64,
    bytes: AtomicU64,
}

impl Proxy {
    /// Starts a proxy to this port of the same machine.
    pub async fn open(target: u16) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let counted = Arc::new(Counted::default());
        let (close, closed) = watch::channel(0);
        tokio::spawn(serve(listener, target, counted.clone(), closed));
        Ok(Self { port, counted, close })
    }

    /// Closes every connection and resets the counters.
    pub fn close_all(&self) {
        self.close.send_modify(|times| *times += 1);
        self.counted.connections.store(0, Ordering::SeqCst);
        self.counted.bytes.store(0, Ordering::SeqCst);
    }

    /// Connections since they were last closed, and bytes in both directions after their handshakes, record headers included.
    pub fn counted(&self) -> (u64, u64) {
        (self.counted.connections.load(Ordering::SeqCst), self.counted.bytes.load(Ordering::SeqCst))
    }
}

async fn serve(listener: TcpListener, target: u16, counted: Arc<Counted>, closed: watch::Receiver<u64>) {
    while let Ok((client, _)) = listener.accept().await {
        let (counted, mut closed) = (counted.clone(), closed.clone());
        closed.mark_unchanged();
        tokio::spawn(async move {
            tokio::select! {
                _ = pass(client, target, &counted) => {}
                _ = closed.changed() => {}
            }
        });
    }
}

async fn pass(client: TcpStream, target: u16, counted: &Counted) -> std::io::Result<()> {
    let server = TcpStream::connect(("127.0.0.1", target)).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    counted.connections.fetch_add(1, Ordering::SeqCst);
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let open = AtomicBool::new(false);
    let up = copy(from_client, to_server, |record| {
        let count = open.load(Ordering::SeqCst);
        if record.kind == APPLICATION_DATA && record.ended {
            open.store(true, Ordering::SeqCst);
        }
        if count {
            counted.bytes.fetch_add(record.bytes, Ordering::SeqCst);
        }
    });
    let down = copy(from_server, to_client, |record| {
        if open.load(Ordering::SeqCst) {
            counted.bytes.fetch_add(record.bytes, Ordering::SeqCst);
        }
    });
    tokio::try_join!(up, down).map(|_| ())
}

/// A piece of one record.
struct Piece {
    kind: u8,
    bytes: u64,
    ended: bool,
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut on_piece: impl FnMut(Piece),
) -> std::io::Result<()> {
    let (mut buffer, mut records) = (vec![0; 64 * 1024], Records::default());
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        records.feed(&buffer[..read], &mut on_piece);
        to.write_all(&buffer[..read]).await?;
    }
}

/// Finds the records in a stream of bytes.
#[derive(Default)]
struct Records {
    head: Vec<u8>,
    left: usize,
}

const HEAD: usize = 5;

impl Records {
    fn feed(&mut self, mut bytes: &[u8], on_piece: &mut impl FnMut(Piece)) {
        while !bytes.is_empty() {
            if self.left == 0 {
                let wanted = (HEAD - self.head.len()).min(bytes.len());
                self.head.extend_from_slice(&bytes[..wanted]);
                bytes = &bytes[wanted..];
                if self.head.len() == HEAD {
                    self.left = usize::from(u16::from_be_bytes([self.head[3], self.head[4]]));
                    on_piece(Piece { kind: self.head[0], bytes: HEAD as u64, ended: self.left == 0 });
                    if self.left == 0 {
                        self.head.clear();
                    }
                }
                continue;
            }
            let here = self.left.min(bytes.len());
            self.left -= here;
            bytes = &bytes[here..];
            on_piece(Piece { kind: self.head[0], bytes: here as u64, ended: self.left == 0 });
            if self.left == 0 {
                self.head.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_found_wherever_the_bytes_are_split() {
        let stream = [&[22, 3, 3, 0, 2, 9, 9][..], &[23, 3, 3, 0, 3, 8, 8, 8], &[23, 3, 3, 0, 0]].concat();
        for size in 1..=stream.len() {
            let (mut records, mut ended, mut bytes) = (Records::default(), Vec::new(), 0);
            for cut in stream.chunks(size) {
                records.feed(cut, &mut |piece| {
                    bytes += piece.bytes;
                    ended.extend(piece.ended.then_some(piece.kind));
                });
            }
            assert_eq!((ended.as_slice(), bytes), (&[22, 23, 23][..], stream.len() as u64), "in pieces of {size}");
        }
    }
}
