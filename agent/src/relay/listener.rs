//! The relay's listener: TLS with the cluster agent's own certificate, whichever is the newest at that moment.
//!
//! A client certificate is asked for and not required, so that a node without one can enrol; everything else refuses its
//! absence. Handshakes are bounded in number, for each address as well, and in time, so that strangers cannot exhaust them.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::Stream;
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;

use crate::credential::{AgentKey, Credential};
use crate::tls::provider;

/// Handshakes under way at once.
const HANDSHAKES: usize = 128;
/// Handshakes under way at once from one address.
const SHARE: usize = 16;
/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Wait after the system refused to accept a connection: out of file descriptors, most likely.
const REFUSED: Duration = Duration::from_millis(200);

/// Why TLS cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ListenerError {
    /// The root that the credential holds.
    #[error("the root certificate cannot be used")]
    Root(#[source] rustls::Error),
    /// Who verifies clients.
    #[error("the root certificate cannot verify nodes")]
    Verifier(#[from] VerifierBuilderError),
    /// The certificate and its key.
    #[error("the agent's own certificate cannot be used")]
    Certificate(#[from] rustls::Error),
}

/// Connections whose handshake is done. The accepting ends when the stream is dropped.
pub fn incoming(
    listener: TcpListener,
    key: Arc<AgentKey>,
    credential: watch::Receiver<Credential>,
) -> impl Stream<Item = io::Result<TlsStream<TcpStream>>> {
    let (done, connections) = mpsc::channel(16);
    tokio::spawn(async move {
        tokio::select! {
            () = done.closed() => {}
            () = accept(&listener, &key, credential, &done) => {}
        }
    });
    ReceiverStream::new(connections)
}

async fn accept(
    listener: &TcpListener,
    key: &AgentKey,
    credential: watch::Receiver<Credential>,
    done: &mpsc::Sender<io::Result<TlsStream<TcpStream>>>,
) {
    let permits = Arc::new(Semaphore::new(HANDSHAKES));
    let shares = Shares::default();
    let mut handshakes = JoinSet::new();
    loop {
        // The semaphore is never closed.
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        while handshakes.try_join_next().is_some() {}
        let Ok((socket, peer)) = listener.accept().await else {
            sleep(REFUSED).await;
            continue;
        };
        let Some(share) = shares.take(peer.ip()) else {
            tracing::debug!(%peer, "too many handshakes from one address at once");
            continue;
        };
        let tls = match config(key, &credential.borrow()) {
            Ok(tls) => tls,
            Err(error) => {
                tracing::error!(error = %crate::api::chain(&error), "nodes cannot be served");
                continue;
            }
        };
        let done = done.clone();
        handshakes.spawn(async move {
            let _held = (permit, share);
            let _delayed = socket.set_nodelay(true);
            match timeout(HANDSHAKE, TlsAcceptor::from(tls).accept(socket)).await {
                // Nobody to take it: the relay is ending.
                Ok(Ok(stream)) => drop(done.send(Ok(stream)).await),
                Ok(Err(error)) => tracing::debug!(%peer, %error, "a handshake failed"),
                Err(_) => tracing::debug!(%peer, "a handshake took too long"),
            }
        });
    }
}

/// How many handshakes each address has under way. Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
struct Shares(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// One handshake of an address, until it is dropped.
#[derive(Debug)]
struct Share {
    of: Shares,
    address: IpAddr,
}

impl Shares {
    fn take(&self, address: IpAddr) -> Option<Share> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let under_way = known.entry(address).or_default();
        (*under_way < SHARE).then(|| {
            *under_way += 1;
            Share { of: self.clone(), address }
        })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut known = self.of.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(under_way) = known.get_mut(&self.address) {
            *under_way -= 1;
            if *under_way == 0 {
                known.remove(&self.address);
            }
        }
    }
}

/// The server's side of TLS with the newest certificate. The chain ends with the root, so that an enrolling node can compare
/// it with the fingerprint that it was given.
pub fn config(key: &AgentKey, credential: &Credential) -> Result<Arc<ServerConfig>, ListenerError> {
    let root = CertificateDer::from(credential.root.clone());
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).map_err(ListenerError::Root)?;
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).allow_unauthenticated();
    let clients = clients.build()?;
    let newest = credential.next.as_ref().unwrap_or(&credential.current);
    let chain = vec![CertificateDer::from(newest.certificate.clone()), root];
    let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[&rustls::version::TLS13])?;
    let mut config = builder.with_client_cert_verifier(clients).with_single_cert(chain, key.der())?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_has_its_share_of_handshakes_and_gets_it_back() {
        let shares = Shares::default();
        let (one, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let mut held: Vec<_> = (0..SHARE).map(|_| shares.take(one).unwrap()).collect();
        assert!(shares.take(one).is_none());
        assert!(shares.take(other).is_some());
        held.pop();
        assert!(shares.take(one).is_some());
        drop(held);
        assert!(shares.0.lock().unwrap().is_empty(), "what nobody holds is not remembered");
    }
}
