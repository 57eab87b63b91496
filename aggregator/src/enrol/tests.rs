//! Joining and leaving, over real TLS on loopback, with a clock of the test's own.

use std::time::Duration;

use holdfast_model::{Actor, JoinToken};
use holdfast_proto::v1::enrolment_client::EnrolmentClient;
use holdfast_proto::v1::enrolment_server::EnrolmentServer;
use holdfast_proto::v1::{self, Certificate, EnrolRequest, RenewRequest};
use holdfast_store::EventFilter;
use rcgen::{CertificateParams, KeyPair};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::Response;
use tonic::transport::{Certificate as Pem, Channel, ClientTlsConfig, Identity, Server};

use super::*;
use crate::authority::AuthoritySettings;
use crate::environment::testing::TestEnvironment;
use crate::environment::{Environment, SystemEnvironment};
use crate::intake::Certify;

const HOUR: i64 = 60 * 60 * 1000;

struct Installation {
    data: tempfile::TempDir,
    members: Enrolments,
    authority: Arc<Authority>,
    environment: Arc<TestEnvironment>,
    address: String,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Installation {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn operator() -> Actor {
    Actor::User("u_operator".into())
}

/// TLS is judged by the system's clock, so the test's clock starts there and only moves on.
async fn installation() -> Installation {
    let data = tempfile::tempdir().unwrap();
    let environment = TestEnvironment::at(SystemEnvironment::default().now());
    let authority = Arc::new(Authority::open(data.path(), &AuthoritySettings::default(), environment.now()).unwrap());
    let store = Store::open(&format!("sqlite:{}", data.path().join("record.db").display())).await.unwrap();
    let members = Enrolments::new(store, authority.clone(), Live::default(), environment.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("https://{}", listener.local_addr().unwrap());
    let service = EnrolmentServer::new(members.clone());
    let mut server = Server::builder().tls_config(authority.tls()).unwrap();
    let serving = server.add_service(service).serve_with_incoming(TcpListenerStream::new(listener));
    let server = tokio::spawn(async move { serving.await.unwrap() });
    Installation { data, members, authority, environment, address, server }
}

impl Installation {
    fn later(&self, millis: i64) {
        self.environment.pass(millis);
    }

    async fn client(&self, identity: Option<(&Certificate, &KeyPair)>) -> EnrolmentClient<Channel> {
        let root = crate::authority::pem("CERTIFICATE", self.authority.root());
        let mut tls = ClientTlsConfig::new().ca_certificate(Pem::from_pem(root));
        if let Some((certificate, key)) = identity {
            let chain = crate::authority::pem("CERTIFICATE", &certificate.certificate);
            tls = tls.identity(Identity::from_pem(chain, key.serialize_pem()));
        }
        let endpoint = Channel::from_shared(self.address.clone()).unwrap().tls_config(tls).unwrap();
        EnrolmentClient::new(endpoint.connect().await.unwrap())
    }

    async fn enrol(&self, token: &JoinToken, key: &KeyPair, fingerprint: &str) -> Result<Certificate, Status> {
        let asked = EnrolRequest { token: token.reveal(), csr: csr(key), fingerprint: fingerprint.into() };
        self.client(None).await.enrol(asked).await.map(Response::into_inner)
    }

    async fn renew(&self, with: (&Certificate, &KeyPair), key: &KeyPair) -> Result<Certificate, Status> {
        self.client(Some(with)).await.renew(RenewRequest { csr: csr(key) }).await.map(Response::into_inner)
    }

    async fn events(&self) -> Vec<String> {
        let events = self.members.store.events(&EventFilter::default(), 100).await.unwrap();
        events.into_iter().rev().filter_map(|event| event.activity).map(|activity| activity.event).collect()
    }
}

fn csr(key: &KeyPair) -> Vec<u8> {
    CertificateParams::default().serialize_request(key).unwrap().der().to_vec()
}

fn key() -> KeyPair {
    KeyPair::generate().unwrap()
}

fn refused(answer: Result<Certificate, Status>) -> String {
    answer.unwrap_err().message().to_owned()
}

#[tokio::test]
async fn a_token_lets_in_one_key_as_often_as_it_asks_and_no_other() {
    let here = installation().await;
    let added = here.members.add_cluster("shop", TokenTerms::default(), operator()).await.unwrap();
    let (first, second) = (key(), key());
    let one = here.enrol(&added.token, &first, "uid-1").await.unwrap();
    let again = here.enrol(&added.token, &first, "uid-1").await.unwrap();
    assert_eq!(one.cluster_id, added.cluster.as_bytes());
    assert_eq!((one.cluster_id, one.root), (again.cluster_id, here.authority.root().to_vec()));
    let text = refused(here.enrol(&added.token, &second, "uid-1").await);
    assert!(text.contains("used up by other agents") && text.contains("holdfast cluster token"), "{text}");
    let stored = here.members.store.join_token(added.token.id).await.unwrap().unwrap();
    assert_eq!((stored.used, stored.secret_hash), (1, added.token.secret.hash()));
    assert_eq!(here.events().await, ["cluster-added", "join-token-made", "agent-joined", "agent-joined"]);
}

#[tokio::test]
async fn two_agents_racing_for_the_last_use_get_one_place() {
    let here = installation().await;
    let added = here.members.add_cluster("shop", TokenTerms::default(), operator()).await.unwrap();
    let keys: Vec<_> = (0..4).map(|_| key()).collect();
    let asked = keys.iter().map(|key| here.enrol(&added.token, key, "uid-1"));
    let answers = futures::future::join_all(asked).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
}

#[tokio::test]
async fn a_token_ends_on_the_second_and_on_its_revocation() {
    let here = installation().await;
    let added = here.members.add_cluster("shop", TokenTerms::default(), operator()).await.unwrap();
    here.later(HOUR - 1);
    here.enrol(&added.token, &key(), "uid-1").await.unwrap();
    here.later(1);
    assert!(refused(here.enrol(&added.token, &key(), "uid-1").await).contains("has expired"));

    let token = here.members.add_token(added.cluster, TokenTerms::default(), operator()).await.unwrap().token;
    let key = key();
    here.enrol(&token, &key, "uid-1").await.unwrap();
    assert!(here.members.revoke_token(token.id, operator()).await.unwrap());
    assert!(!here.members.revoke_token(token.id, operator()).await.unwrap());
    assert!(refused(here.enrol(&token, &key, "uid-1").await).contains("was revoked"));
}

#[tokio::test]
async fn a_wrong_secret_and_an_unknown_token_are_not_told_apart() {
    let here = installation().await;
    let added = here.members.add_cluster("shop", TokenTerms::default(), operator()).await.unwrap();
    let mut wrong = added.token.clone();
    wrong.secret = holdfast_model::JoinSecret::from_bytes([1; 32]);
    let mut unknown = added.token.clone();
    unknown.id = holdfast_model::JoinTokenId::from_bytes([1; 16]);
    let texts = [refused(here.enrol(&wrong, &key(), "u").await), refused(here.enrol(&unknown, &key(), "u").await)];
    assert_eq!(texts[0], texts[1]);
    let asked = EnrolRequest { token: added.token.reveal(), csr: b"no request".to_vec(), fingerprint: "u".into() };
    assert!(here.client(None).await.enrol(asked).await.unwrap_err().message().contains("not one well-formed"));
}

#[tokio::test]
async fn one_kubernetes_cluster_has_one_record() {
    let here = installation().await;
    let terms = TokenTerms { uses: 5, ..TokenTerms::default() };
    let shop = here.members.add_cluster("shop", terms, operator()).await.unwrap();
    let copy = here.members.add_cluster("copy", terms, operator()).await.unwrap();
    here.enrol(&shop.token, &key(), "uid-1").await.unwrap();
    let text = refused(here.enrol(&copy.token, &key(), "uid-1").await);
    assert!(text.contains(&shop.cluster.to_string()) && text.contains("on record already"), "{text}");
    assert!(refused(here.enrol(&shop.token, &key(), "uid-2").await).contains("another Kubernetes cluster"));
    assert!(refused(here.enrol(&shop.token, &key(), "").await).contains("no fingerprint"));
    here.members.revoke_cluster(shop.cluster, operator()).await.unwrap();
    here.enrol(&copy.token, &key(), "uid-1").await.unwrap();
}

#[tokio::test]
async fn the_old_certificate_works_until_the_new_one_is_used() {
    let here = installation().await;
    let added = here.members.add_cluster("shop", TokenTerms::default(), operator()).await.unwrap();
    let (old_key, new_key) = (key(), key());
    let old = here.enrol(&added.token, &old_key, "uid-1").await.unwrap();
    here.later(1000);
    let new = here.renew((&old, &old_key), &new_key).await.unwrap();
    assert_eq!(new.cluster_id, old.cluster_id);
    here.later(1000);
    let lost_again = here.renew((&old, &old_key), &key()).await.unwrap();
    assert_eq!(lost_again.cluster_id, old.cluster_id);
    here.renew((&new, &new_key), &key()).await.unwrap();
    assert!(refused(here.renew((&old, &old_key), &key()).await).contains("replaced or revoked"));
}

#[tokio::test]
async fn an_agent_that_was_off_for_a_year_comes_back_with_a_new_token_for_its_record() {
    let here = installation().await;
    let added = here.members.add_cluster("shop", TokenTerms::default(), operator()).await.unwrap();
    let key = key();
    here.enrol(&added.token, &key, "uid-1").await.unwrap();
    here.later(400 * 24 * HOUR);
    assert!(refused(here.enrol(&added.token, &key, "uid-1").await).contains("holdfast cluster token"));
    let token = here.members.add_token(added.cluster, TokenTerms::default(), operator()).await.unwrap().token;
    let back = here.enrol(&token, &key, "uid-1").await.unwrap();
    assert_eq!(back.cluster_id, added.cluster.as_bytes());
    assert_eq!(here.events().await.iter().filter(|event| *event == "join-token-made").count(), 2);
}

#[tokio::test]
async fn nobody_renews_without_a_certificate_of_this_installation() {
    let (here, elsewhere) = (installation().await, installation().await);
    let asked = RenewRequest { csr: csr(&key()) };
    assert_eq!(here.client(None).await.renew(asked).await.unwrap_err().code(), Code::Unauthenticated);

    let added = elsewhere.members.add_cluster("shop", TokenTerms::default(), operator()).await.unwrap();
    let key = key();
    let foreign = elsewhere.enrol(&added.token, &key, "uid-1").await.unwrap();
    let root = crate::authority::pem("CERTIFICATE", here.authority.root());
    let chain = crate::authority::pem("CERTIFICATE", &foreign.certificate);
    let tls = ClientTlsConfig::new().ca_certificate(Pem::from_pem(root));
    let tls = tls.identity(Identity::from_pem(chain, key.serialize_pem()));
    let endpoint = Channel::from_shared(here.address.clone()).unwrap().tls_config(tls).unwrap();
    let answer = match endpoint.connect().await {
        Ok(channel) => EnrolmentClient::new(channel).renew(RenewRequest { csr: csr(&key) }).await.map(|_| ()),
        Err(refused) => Err(Status::unavailable(refused.to_string())),
    };
    assert!(answer.is_err());
}

#[tokio::test]
async fn a_certificate_that_is_not_on_record_is_refused() {
    let here = installation().await;
    let added = here.members.add_cluster("shop", TokenTerms::default(), operator()).await.unwrap();
    let key = key();
    let request = crate::signing_request::SigningRequest::parse(&csr(&key)).unwrap();
    let unrecorded = here.authority.issue(added.cluster, &request, here.members.now()).unwrap();
    let unrecorded = Certificate { certificate: unrecorded.der, ..Certificate::default() };
    assert!(refused(here.renew((&unrecorded, &key), &key).await).contains("not on record"));
}

#[tokio::test]
async fn a_revoked_cluster_is_out_at_once_its_live_streams_too() {
    let here = installation().await;
    let added = here.members.add_cluster("shop", TokenTerms::default(), operator()).await.unwrap();
    let other = here.members.add_cluster("other", TokenTerms::default(), operator()).await.unwrap();
    let key = key();
    let certificate = here.enrol(&added.token, &key, "uid-1").await.unwrap();
    let facts = holdfast_proof::CertificateFacts::parse(&certificate.certificate).unwrap();
    let identity =
        crate::identity::ClusterIdentity { cluster: added.cluster, serial: facts.serial, key_hash: facts.key_hash };
    let mut live = here.members.admit_identity(identity, certificate.certificate.clone()).await.unwrap();

    here.members.revoke_cluster(other.cluster, operator()).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(50), live.ended()).await.is_err());
    assert!(here.members.revoke_cluster(added.cluster, operator()).await.unwrap());
    let ended = tokio::time::timeout(Duration::from_secs(5), live.ended()).await.unwrap();
    assert_eq!(ended.code(), Code::PermissionDenied);
    assert!(refused(here.renew((&certificate, &key), &key).await).contains("was revoked"));
    assert!(refused(here.enrol(&added.token, &key, "uid-1").await).contains("was revoked"));
    let token = here.members.add_token(added.cluster, TokenTerms::default(), operator()).await;
    assert!(matches!(token, Err(EnrolError::ClusterRevoked(_))));
}

#[tokio::test]
async fn a_stream_ends_before_its_certificate_does() {
    let here = installation().await;
    let added = here.members.add_cluster("shop", TokenTerms::default(), operator()).await.unwrap();
    let certificate = here.enrol(&added.token, &key(), "uid-1").await.unwrap().certificate;
    let facts = holdfast_proof::CertificateFacts::parse(&certificate).unwrap();
    let identity =
        crate::identity::ClusterIdentity { cluster: added.cluster, serial: facts.serial, key_hash: facts.key_hash };
    here.later(facts.not_after - 100 - here.environment.now());
    let mut live = here.members.admit_identity(identity, certificate).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(5), live.ended()).await.unwrap();
    assert_eq!(ended.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn names_and_terms_that_nobody_can_mean_are_refused() {
    let here = installation().await;
    for name in ["", "Shop", "-shop", "shop.", "a b", "sh\u{f6}p", &"x".repeat(64)] {
        let added = here.members.add_cluster(name, TokenTerms::default(), operator()).await;
        assert!(matches!(added, Err(EnrolError::Name)), "{name}");
    }
    here.members.add_cluster("shop", TokenTerms::default(), operator()).await.unwrap();
    let again = here.members.add_cluster("shop", TokenTerms::default(), operator()).await;
    assert!(matches!(again, Err(EnrolError::NameTaken(_))));
    for (seconds, uses) in [(59, 1), (31 * 24 * 3600, 1), (60, 0), (60, 1001)] {
        let terms = TokenTerms { life: Duration::from_secs(seconds), uses };
        assert!(matches!(here.members.add_cluster("b", terms, operator()).await, Err(EnrolError::Terms)));
    }
}

#[tokio::test]
async fn no_secret_is_found_in_the_data_folder() {
    let here = installation().await;
    let added = here.members.add_cluster("shop", TokenTerms::default(), operator()).await.unwrap();
    here.enrol(&added.token, &key(), "uid-1").await.unwrap();
    here.members.store.close().await;
    let text = added.token.reveal();
    let secret = text.split('.').nth(1).unwrap();
    for file in
        std::fs::read_dir(here.data.path()).unwrap().map(|file| file.unwrap().path()).filter(|path| path.is_file())
    {
        let bytes = std::fs::read(&file).unwrap();
        assert!(!String::from_utf8_lossy(&bytes).contains(secret), "{}", file.display());
    }
}

async fn certify(here: &Installation, cluster: ClusterId, node: &str, key: &KeyPair) -> v1::NodeCertificate {
    here.members.certify(cluster, v1::NodeCsr { request_id: 7, node: node.into(), csr: csr(key) }).await
}

#[tokio::test]
async fn a_node_is_named_under_its_agents_cluster_and_the_event_says_so() {
    let here = installation().await;
    let added = here.members.add_cluster("shop", TokenTerms::default(), operator()).await.unwrap();
    let key = key();
    let made = certify(&here, added.cluster, "worker-1", &key).await;
    assert_eq!((made.request_id, made.error.as_str()), (7, ""));
    let facts = holdfast_proof::CertificateFacts::parse(&made.certificate).unwrap();
    let name = format!("spiffe://{}/cluster/{}/node/worker-1", here.authority.trust_domain(), added.cluster);
    assert_eq!((facts.name.to_string(), facts.not_after), (name, made.not_after));
    assert!(made.not_after - here.environment.now() <= 24 * HOUR);
    assert_eq!(here.events().await.last().unwrap(), "node-certified");

    for stranger in ["", "../x", "a/node/b", "Worker"] {
        let refused = certify(&here, added.cluster, stranger, &key).await;
        assert!(refused.certificate.is_empty() && refused.error.contains("no name"), "{stranger}");
    }
}

#[tokio::test]
async fn a_nodes_certificate_is_none_of_a_clusters_agent() {
    let here = installation().await;
    let added = here.members.add_cluster("shop", TokenTerms::default(), operator()).await.unwrap();
    let key = key();
    let made = certify(&here, added.cluster, "worker-1", &key).await;
    let shown = Certificate { certificate: made.certificate, ..Certificate::default() };
    let answer = here.renew((&shown, &key), &key).await.unwrap_err();
    assert_eq!(answer.code(), Code::PermissionDenied);
    assert!(answer.message().contains("names no cluster"), "{answer}");
}

#[tokio::test]
async fn a_revoked_clusters_nodes_get_no_certificate_any_more() {
    let here = installation().await;
    let added = here.members.add_cluster("shop", TokenTerms::default(), operator()).await.unwrap();
    here.members.revoke_cluster(added.cluster, operator()).await.unwrap();
    let made = certify(&here, added.cluster, "worker-1", &key()).await;
    assert!(made.certificate.is_empty() && made.error.contains("was revoked"), "{made:?}");
}
