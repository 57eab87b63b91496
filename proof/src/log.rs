//! Checks an exported log offline: every entry is hashed again, the root is recomputed, the head's signature leads to the
//! root certificate, and that one to a fingerprint that the checker brings along.

use holdfast_model::{Head, RootFingerprint};

use crate::canonical::{self, NotCanonical};
use crate::merkle::{Hash, Log, leaf_hash};
use crate::trust::{TrustProblem, TrustedRoot};

/// A head with everything that its check needs.
#[derive(Debug, Clone, Copy)]
pub struct SignedHead<'a> {
    /// The canonical bytes that were signed, as text.
    pub signed: &'a str,
    /// The signature over them.
    pub signature: &'a [u8],
    /// The signer's certificate, DER.
    pub certificate: &'a [u8],
    /// The root certificate, DER; trusted only if it has the fingerprint.
    pub root_certificate: &'a [u8],
}

/// One exported entry.
#[derive(Debug, Clone)]
pub struct LoggedEntry {
    /// Its place in the log.
    pub index: u64,
    /// Its canonical bytes; none once retention has dropped them.
    pub bytes: Option<Vec<u8>>,
    /// Its leaf hash.
    pub leaf: Hash,
}

/// Why a log is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogProblem {
    /// A certificate or the signature of the head.
    #[error(transparent)]
    Trust(#[from] TrustProblem),
    /// The head's bytes.
    #[error(transparent)]
    NotCanonical(#[from] NotCanonical),
    /// The head is of a form that this program does not know.
    #[error("the head's form is {0:?}, not {known:?}", known = Head::FORM)]
    Form(String),
    /// An entry is missing, twice or out of order.
    #[error("where entry {expected} should be, there is entry {found}")]
    Order {
        /// The place.
        expected: u64,
        /// The entry found there.
        found: u64,
    },
    /// An entry was changed.
    #[error("entry {0} does not hash to its leaf: it was changed")]
    Changed(u64),
    /// The log was cut short.
    #[error("the head counts {expected} entries, the export has {found}")]
    Short {
        /// By the head.
        expected: u64,
        /// In the export.
        found: u64,
    },
    /// The leaves are not those that were signed.
    #[error("the entries do not hash to the signed root: one of them was changed, moved or replaced")]
    Root,
}

/// What the check of a whole log found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedLog {
    /// The head that the entries were held against.
    pub head: Head,
    /// Entries whose bytes were hashed again.
    pub entries: u64,
    /// Entries of which only the leaf is left.
    pub without_bytes: u64,
}

/// Checks a head's signature against the fingerprint of the root.
pub fn verify_head(head: &SignedHead<'_>, root: &RootFingerprint) -> Result<Head, LogProblem> {
    let read: Head = canonical::parse("head", head.signed)?;
    let trusted = TrustedRoot::recognise(head.root_certificate, root, read.at)?;
    trusted.check_aggregator(head.certificate, head.signed.as_bytes(), head.signature)?;
    if read.form == Head::FORM { Ok(read) } else { Err(LogProblem::Form(read.form)) }
}

/// Checks a whole log, entries in order from 0, against a signed head. Entries after the head's last are left out of
/// account: a later head covers them.
pub fn verify(
    entries: impl IntoIterator<Item = LoggedEntry>,
    head: &SignedHead<'_>,
    root: &RootFingerprint,
) -> Result<VerifiedLog, LogProblem> {
    let head = verify_head(head, root)?;
    let (mut log, mut without_bytes) = (Log::default(), 0);
    for entry in entries {
        if log.size() == head.size {
            break;
        }
        if entry.index != log.size() {
            return Err(LogProblem::Order { expected: log.size(), found: entry.index });
        }
        match &entry.bytes {
            Some(bytes) if leaf_hash(bytes) != entry.leaf => return Err(LogProblem::Changed(entry.index)),
            Some(_) => {}
            None => without_bytes += 1,
        }
        log.append(entry.leaf);
        // The tiles are of no use here, and a long log has many.
        log.take_changed();
    }
    if log.size() != head.size {
        return Err(LogProblem::Short { expected: head.size, found: log.size() });
    }
    if log.root().as_slice() != head.root {
        return Err(LogProblem::Root);
    }
    Ok(VerifiedLog { entries: log.size() - without_bytes, without_bytes, head })
}
