//! The installation's own certificate authority: one root, which signs agents, this server and the one who countersigns.
//!
//! The root names the installation (`holdfast-<id>`, its SPIFFE trust domain) and is known to others by its fingerprint
//! alone. It does not know who may join: `enrol` decides that and asks for a certificate. Keys are ECDSA P-256. The
//! server's certificate lives as long as the process and is made anew at every start, so it always carries the configured
//! names and is never forgotten until it expires.

pub mod files;

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use data_encoding::BASE32_NOPAD;
use holdfast_model::{ClusterId, RootFingerprint, UnixMillis};
use holdfast_proof::{CertificateFacts, CertificateProblem, NodeName, Party, SpiffeName, certificate};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, SanType, SerialNumber, SigningKey, SubjectPublicKeyInfo,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tonic::transport::{Certificate, Identity, ServerTlsConfig};

pub use files::FileProblem;

use crate::signing_request::SigningRequest;

const DAY: UnixMillis = 24 * 60 * 60 * 1000;
const ROOT_LIFE: UnixMillis = 20 * 365 * DAY;
const SIGNING_LIFE: UnixMillis = 5 * 365 * DAY;
const SERVER_LIFE: UnixMillis = 5 * 365 * DAY;
/// Certificates start this much in the past, for peers whose clocks run late.
const BACKDATED: UnixMillis = 5 * 60 * 1000;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// The settings of the authority.
#[derive(Debug, Clone)]
pub struct AuthoritySettings {
    /// Names and addresses under which agents reach this aggregator, besides `localhost` and the loopback addresses.
    pub server_names: Vec<String>,
    /// How long the certificate of an agent, of a cluster or of a node, is valid.
    pub agent_life: Duration,
}

impl Default for AuthoritySettings {
    fn default() -> Self {
        Self { server_names: Vec::new(), agent_life: Duration::from_secs(24 * 60 * 60) }
    }
}

/// Why the authority cannot open or sign.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A file of its folder.
    #[error("the authority's folder cannot be used")]
    Files(#[from] FileProblem),
    /// A file that does not hold what it should.
    #[error("{file} of the authority does not hold a key and its certificate")]
    Unreadable {
        /// The file's name.
        file: &'static str,
    },
    /// A certificate that does not name whom it should.
    #[error("the certificate in {file} cannot be used: {problem}")]
    Certificate {
        /// The file's name.
        file: &'static str,
        /// What is wrong.
        problem: CertificateProblem,
    },
    /// The root has expired, or is not valid yet by this machine's clock.
    #[error("the root certificate is not valid now: check this machine's clock")]
    RootNotValid,
    /// The cryptographic library refuses.
    #[error("cannot make a certificate for {0}")]
    Making(String, #[source] rcgen::Error),
    /// The operating system gives no randomness.
    #[error("no randomness")]
    Randomness,
    /// Signing failed.
    #[error("cannot sign")]
    Signing(#[source] rcgen::Error),
}

/// A certificate that was just made for an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedCertificate {
    /// The certificate, DER.
    pub der: Vec<u8>,
    /// What it says.
    pub facts: CertificateFacts,
}

/// A key with its certificate.
struct Credential {
    key: KeyPair,
    der: CertificateDer<'static>,
}

/// The installation's certificate authority.
pub struct Authority {
    trust_domain: String,
    root: CertificateDer<'static>,
    root_until: UnixMillis,
    issuer: Issuer<'static, KeyPair>,
    signing: Credential,
    server: Credential,
    agent_life: UnixMillis,
}

impl Authority {
    /// Opens the authority kept in `<data>/authority`, or founds it there.
    pub fn open(data: &Path, settings: &AuthoritySettings, now: UnixMillis) -> Result<Self, AuthorityError> {
        let folder = data.join("authority");
        files::folder(&folder)?;
        let root = open_root(&folder.join("root.pem"), now)?;
        let facts = facts_of("root.pem", &root.der)?;
        if !facts.is_valid_at(now) {
            return Err(AuthorityError::RootNotValid);
        }
        let trust_domain = facts.name.trust_domain;
        let name = SpiffeName { trust_domain: trust_domain.clone(), party: Party::Aggregator };
        let issuer = Issuer::from_ca_cert_der(&root.der, root.key).map_err(making("the root"))?;
        let until = |life: UnixMillis| facts.not_after.min(now + life);
        Ok(Self {
            signing: open_signing(
                &folder.join("signing.pem"),
                &issuer,
                name,
                now,
                facts.not_before..until(SIGNING_LIFE),
            )?,
            server: make_server(&issuer, &settings.server_names, now, until(SERVER_LIFE))?,
            agent_life: UnixMillis::try_from(settings.agent_life.as_millis()).unwrap_or(UnixMillis::MAX / 2),
            root_until: facts.not_after,
            root: root.der,
            trust_domain,
            issuer,
        })
    }

    /// The SPIFFE trust domain: `holdfast-<installation id>`.
    pub fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    /// The root certificate, DER.
    pub fn root(&self) -> &[u8] {
        &self.root
    }

    /// The root's fingerprint, which is all that others need to check what this authority signs.
    pub fn fingerprint(&self) -> RootFingerprint {
        RootFingerprint::of(&self.root)
    }

    /// Makes a certificate for the agent of this cluster, with the request's key and nothing else of the request. It is
    /// good for both ends of TLS: the agent calls the aggregator, and the nodes of its cluster call the agent.
    pub fn issue(
        &self,
        cluster: ClusterId,
        request: &SigningRequest,
        now: UnixMillis,
    ) -> Result<IssuedCertificate, AuthorityError> {
        let usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        self.issue_to(Party::Cluster(cluster), usages, request, now)
    }

    /// Makes a certificate for the agent of one node of this cluster. It opens no stream to this aggregator: `identity`
    /// knows clusters only.
    pub fn issue_node(
        &self,
        cluster: ClusterId,
        node: NodeName,
        request: &SigningRequest,
        now: UnixMillis,
    ) -> Result<IssuedCertificate, AuthorityError> {
        self.issue_to(Party::Node(cluster, node), vec![ExtendedKeyUsagePurpose::ClientAuth], request, now)
    }

    fn issue_to(
        &self,
        party: Party,
        usages: Vec<ExtendedKeyUsagePurpose>,
        request: &SigningRequest,
        now: UnixMillis,
    ) -> Result<IssuedCertificate, AuthorityError> {
        let name = SpiffeName { trust_domain: self.trust_domain.clone(), party };
        let until = self.root_until.min(now.saturating_add(self.agent_life));
        // A common name holds 64 characters; the name that counts is the URI.
        let mut params = leaf("Holdfast agent", now, until)?;
        params.subject_alt_names = vec![uri(&name)?];
        params.extended_key_usages = usages;
        let key = SubjectPublicKeyInfo::from_der(request.public_key()).map_err(making("an agent"))?;
        let der = params.signed_by(&key, &self.issuer).map_err(making("an agent"))?.der().to_vec();
        Ok(IssuedCertificate { facts: facts_of("a new certificate", &der)?, der })
    }

    /// Signs as the aggregator: ECDSA P-256 SHA-256, ASN.1.
    pub fn sign(&self, bytes: &[u8]) -> Result<Vec<u8>, AuthorityError> {
        self.signing.key.sign(bytes).map_err(AuthorityError::Signing)
    }

    /// The certificate of [`Authority::sign`], DER.
    pub fn signing_certificate(&self) -> &[u8] {
        &self.signing.der
    }

    /// The server's side of TLS for agents. A client certificate is asked for but not required, so that an agent without
    /// one can enrol; `identity` refuses its absence everywhere else. The chain ends with the root, so that an enrolling
    /// agent can hold it against the fingerprint in its join token.
    pub fn tls(&self) -> ServerTlsConfig {
        let root = pem("CERTIFICATE", &self.root);
        let chain = pem("CERTIFICATE", &self.server.der) + &root;
        ServerTlsConfig::new()
            .identity(Identity::from_pem(chain, self.server.key.serialize_pem()))
            .client_ca_root(Certificate::from_pem(root))
            .client_auth_optional(true)
            .timeout(HANDSHAKE_TIMEOUT)
    }
}

fn open_root(path: &Path, now: UnixMillis) -> Result<Credential, AuthorityError> {
    if let Some(text) = files::read(path)? {
        return parse_credential("root.pem", &text);
    }
    let id = BASE32_NOPAD.encode(&random::<10>()?).to_ascii_lowercase();
    let name = SpiffeName { trust_domain: format!("holdfast-{id}"), party: Party::Root };
    let mut params = leaf(&format!("Holdfast root {id}"), now, now + ROOT_LIFE)?;
    params.subject_alt_names = vec![uri(&name)?];
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate().map_err(making("the root"))?;
    let der = params.self_signed(&key).map_err(making("the root"))?.der().clone();
    let root = Credential { key, der };
    files::create(path, &credential_text(&root))?;
    Ok(root)
}

fn open_signing(
    path: &Path,
    issuer: &Issuer<'_, KeyPair>,
    name: SpiffeName,
    now: UnixMillis,
    life: Range<UnixMillis>,
) -> Result<Credential, AuthorityError> {
    if let Some(text) = files::read(path)? {
        let found = parse_credential("signing.pem", &text)?;
        let facts = facts_of("signing.pem", &found.der)?;
        let lasts = facts.is_valid_at(now) && facts.is_valid_at(life.end.min(now + SIGNING_LIFE / 3));
        if facts.name == name && lasts {
            return Ok(found);
        }
    }
    let mut params = leaf(&name.to_string(), now, life.end)?;
    // From the root's first day: what was recorded before a long stop is countersigned after it.
    set_life(&mut params, life);
    params.subject_alt_names = vec![uri(&name)?];
    let made = make(params, issuer, "the signer")?;
    files::replace(path, &credential_text(&made))?;
    Ok(made)
}

fn make_server(
    issuer: &Issuer<'_, KeyPair>,
    names: &[String],
    now: UnixMillis,
    until: UnixMillis,
) -> Result<Credential, AuthorityError> {
    let mut params = leaf("Holdfast aggregator", now, until)?;
    for name in ["localhost", "127.0.0.1", "::1"].into_iter().chain(names.iter().map(String::as_str)) {
        let name = match name.parse() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(name.try_into().map_err(making(name))?),
        };
        if !params.subject_alt_names.contains(&name) {
            params.subject_alt_names.push(name);
        }
    }
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    make(params, issuer, "the server")
}

fn make(params: CertificateParams, issuer: &Issuer<'_, KeyPair>, whom: &str) -> Result<Credential, AuthorityError> {
    let key = KeyPair::generate().map_err(making(whom))?;
    let der = params.signed_by(&key, issuer).map_err(making(whom))?.der().clone();
    Ok(Credential { key, der })
}

fn leaf(common_name: &str, now: UnixMillis, until: UnixMillis) -> Result<CertificateParams, AuthorityError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    set_life(&mut params, now - BACKDATED..until);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    // Positive and of full length: the top bits are 01.
    let mut serial = random::<16>()?;
    serial[0] = serial[0] & 0x3f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(params)
}

fn set_life(params: &mut CertificateParams, life: Range<UnixMillis>) {
    let moment = |at| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_millis(u64::try_from(at).unwrap_or(0));
    params.not_before = moment(life.start);
    params.not_after = moment(life.end);
}

fn uri(name: &SpiffeName) -> Result<SanType, AuthorityError> {
    let text = name.to_string();
    Ok(SanType::URI(text.as_str().try_into().map_err(making(&text))?))
}

fn making(whom: &str) -> impl FnOnce(rcgen::Error) -> AuthorityError {
    let whom = whom.to_owned();
    move |source| AuthorityError::Making(whom, source)
}

fn facts_of(file: &'static str, der: &[u8]) -> Result<CertificateFacts, AuthorityError> {
    CertificateFacts::parse(der).map_err(|problem| AuthorityError::Certificate { file, problem })
}

fn parse_credential(file: &'static str, text: &str) -> Result<Credential, AuthorityError> {
    let unreadable = || AuthorityError::Unreadable { file };
    let key = PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|_| unreadable())?;
    let key = KeyPair::try_from(&key).map_err(|_| unreadable())?;
    let der = CertificateDer::from_pem_slice(text.as_bytes()).map_err(|_| unreadable())?;
    let facts = facts_of(file, &der)?;
    if facts.key_hash != certificate::key_hash(&key.subject_public_key_info()) {
        return Err(unreadable());
    }
    Ok(Credential { key, der })
}

fn credential_text(credential: &Credential) -> String {
    credential.key.serialize_pem() + &pem("CERTIFICATE", &credential.der)
}

/// DER as PEM text.
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let body = data_encoding::BASE64.encode(der);
    let lines: Vec<_> = body.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line)).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// Random bytes from the operating system's generator.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], AuthorityError> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| AuthorityError::Randomness)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const NOW: UnixMillis = 1_790_000_000_000;

    fn open(data: &Path, now: UnixMillis) -> Result<Authority, AuthorityError> {
        Authority::open(data, &AuthoritySettings::default(), now)
    }

    fn request() -> SigningRequest {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["kubernetes.default".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "spiffe://elsewhere/cluster/c_other");
        SigningRequest::parse(params.serialize_request(&key).unwrap().der()).unwrap()
    }

    #[test]
    fn the_root_and_the_signer_are_found_again() {
        let data = tempfile::tempdir().unwrap();
        let first = open(data.path(), NOW).unwrap();
        let again = open(data.path(), NOW + DAY).unwrap();
        assert_eq!((first.fingerprint(), first.trust_domain()), (again.fingerprint(), again.trust_domain()));
        assert_eq!(first.signing_certificate(), again.signing_certificate());
        let left: Vec<_> =
            std::fs::read_dir(data.path().join("authority")).unwrap().map(|f| f.unwrap().file_name()).collect();
        assert_eq!(left.len(), 2, "{left:?}");
    }

    #[test]
    fn two_installations_share_nothing() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (one, two) = (open(one.path(), NOW).unwrap(), open(two.path(), NOW).unwrap());
        assert_ne!(one.trust_domain(), two.trust_domain());
        assert_ne!(one.fingerprint(), two.fingerprint());
    }

    #[test]
    fn the_signer_is_replaced_well_before_it_expires() {
        let data = tempfile::tempdir().unwrap();
        let first = open(data.path(), NOW).unwrap();
        let late = open(data.path(), NOW + SIGNING_LIFE * 3 / 4).unwrap();
        assert_ne!(first.signing_certificate(), late.signing_certificate());
        assert_eq!(first.fingerprint(), late.fingerprint());
    }

    #[test]
    fn a_key_that_others_may_read_is_refused() {
        let data = tempfile::tempdir().unwrap();
        open(data.path(), NOW).unwrap();
        let root = data.path().join("authority/root.pem");
        std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(open(data.path(), NOW), Err(AuthorityError::Files(FileProblem::Open { mode: 0o640, .. }))));
    }

    #[test]
    fn a_damaged_root_is_refused_and_never_replaced() {
        let data = tempfile::tempdir().unwrap();
        open(data.path(), NOW).unwrap();
        let root = data.path().join("authority/root.pem");
        let text = std::fs::read_to_string(&root).unwrap();
        for damaged in [&text[..text.len() / 2], "", "-----BEGIN NOTHING-----"] {
            std::fs::write(&root, damaged).unwrap();
            assert!(matches!(open(data.path(), NOW), Err(AuthorityError::Unreadable { file: "root.pem" })));
            assert_eq!(std::fs::read_to_string(&root).unwrap(), damaged);
        }
    }

    #[test]
    fn a_clock_before_the_root_is_told() {
        let data = tempfile::tempdir().unwrap();
        open(data.path(), NOW).unwrap();
        assert!(matches!(open(data.path(), NOW - DAY), Err(AuthorityError::RootNotValid)));
    }

    #[test]
    fn an_agent_is_named_by_its_cluster_and_by_nothing_it_asked_for() {
        let data = tempfile::tempdir().unwrap();
        let authority = open(data.path(), NOW).unwrap();
        let (cluster, request) = (ClusterId::from_bytes([9; 16]), request());
        let (one, two) =
            (authority.issue(cluster, &request, NOW).unwrap(), authority.issue(cluster, &request, NOW).unwrap());
        assert_eq!(one.facts.name.to_string(), format!("spiffe://{}/cluster/{cluster}", authority.trust_domain()));
        assert_eq!((one.facts.key_hash, one.facts.not_after), (request.key_hash(), NOW + DAY));
        assert_ne!(one.facts.serial, two.facts.serial);
        assert!(!String::from_utf8_lossy(&one.der).contains("elsewhere"));
    }

    #[test]
    fn no_agent_outlives_the_root() {
        let data = tempfile::tempdir().unwrap();
        let authority = open(data.path(), NOW).unwrap();
        let late = NOW + ROOT_LIFE - 1000;
        assert_eq!(
            authority.issue(ClusterId::from_bytes([9; 16]), &request(), late).unwrap().facts.not_after,
            NOW + ROOT_LIFE
        );
    }
}
