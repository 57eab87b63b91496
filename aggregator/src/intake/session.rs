//! One stream, from Hello to its end. Batches go to the writer in order, several ahead of their acknowledgement, so that one
//! commit serves many; answers to retests go the same way, so that a verdict is never older than what was sent before it.

use std::collections::HashSet;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesOrdered;
use futures::{FutureExt, Stream, StreamExt};
use holdfast_model::digest::{LedgerDigest, controls_digest};
use holdfast_model::{Activity, Actor, ClusterId, FindingId};
use holdfast_proto::parts::Joiner;
use holdfast_proto::v1::from_agent::Message as From;
use holdfast_proto::v1::to_agent::Message as To;
use holdfast_proto::{PROTOCOL, v1};
use holdfast_record::Refused;
use holdfast_store::Store;
use serde_json::json;
use tokio::sync::mpsc;
use tonic::Status;

use super::{Intake, Peer, check, status};
use crate::dispatch::Dispatch;
use crate::sessions::Session;
use crate::writer::{Complete, WriteError};

/// How long a peer may take to send Hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(30);
/// Most jobs of one stream that wait for their commit.
const AHEAD: usize = 16;

type Outbound = mpsc::Sender<Result<v1::ToAgent, Status>>;
type Jobs = FuturesOrdered<BoxFuture<'static, Result<Option<To>, WriteError>>>;

/// Serves one stream until it ends. An error is the reason that the agent is given.
pub(super) async fn run(
    intake: &Intake,
    peer: Peer,
    mut inbound: impl Stream<Item = Result<v1::FromAgent, Status>> + Unpin,
    outbound: &Outbound,
) -> Result<(), Status> {
    let first = tokio::time::timeout(HELLO_TIMEOUT, inbound.next()).await;
    let first = first.map_err(|_| Status::deadline_exceeded("no Hello came"))?;
    let Some(From::Hello(hello)) = first.transpose()?.and_then(|message| message.message) else {
        return Err(Status::failed_precondition("the first message must be Hello"));
    };
    let Peer { cluster, certificate, mut cut_off } = peer;
    let session = welcome(intake, cluster, &hello, outbound).await?;
    let dispatch = Dispatch {
        store: &intake.store,
        writer: &intake.writer,
        environment: &intake.environment,
        session: &session,
        cluster,
        outbound,
    };
    let (jobs, parts) = (Jobs::new(), Joiner::default());
    let mut stream = AgentStream { intake, cluster, certificate: &certificate, outbound, jobs, repeated: None, parts };
    tokio::select! {
        biased;
        reason = &mut cut_off => Err(reason),
        () = session.ended() => Err(Status::aborted("another stream of this cluster has replaced this one, or it was revoked")),
        sent = dispatch.run() => sent.map_err(|error| status(&error)),
        done = stream.serve(inbound) => done,
    }
}

async fn welcome(
    intake: &Intake,
    cluster: ClusterId,
    hello: &v1::Hello,
    outbound: &Outbound,
) -> Result<Session, Status> {
    if hello.protocol != PROTOCOL {
        let text = format!("this aggregator speaks protocol {PROTOCOL}, the agent {}", hello.protocol);
        return Err(Status::failed_precondition(text));
    }
    if !hello.claimed_cluster.is_empty() && hello.claimed_cluster != cluster.to_string() {
        return Err(refuse_claim(intake, cluster, &hello.claimed_cluster).await);
    }
    let now = intake.environment.now();
    let mut connected = check::hello(hello, now)?;
    if connected.controls.is_empty() {
        connected.controls = known_controls(intake, cluster, &hello.controls_digest).await?;
    }
    let epoch = intake.writer.connect(cluster, connected).await.map_err(|error| status(&error))?;
    let session = intake.sessions.open(cluster, epoch);
    let digest = digest(&intake.store, cluster).await?;
    let in_agreement = digest.root().as_slice() == hello.root_digest.as_slice();
    send(outbound, To::Welcome(v1::Welcome { epoch, in_agreement, clock: now })).await?;
    Ok(session)
}

/// The controls of the last stream, if it is them that the digest names. An agent that is refused here sends them anew.
async fn known_controls(intake: &Intake, cluster: ClusterId, named: &[u8]) -> Result<Vec<String>, Status> {
    if named.is_empty() {
        return Ok(Vec::new());
    }
    let known = intake.store.cluster(cluster).await.map_err(|error| status(&error.into()))?;
    let known = known.map(|cluster| cluster.controls).filter(|known| controls_digest(known) == *named);
    known.ok_or_else(|| Status::failed_precondition("hello.controls_digest: not the controls on record, say them"))
}

/// A message that names another cluster than the certificate is a mix-up or a forgery; either is recorded.
async fn refuse_claim(intake: &Intake, cluster: ClusterId, claimed: &str) -> Status {
    let claimed: String = claimed.chars().take(64).collect();
    let noted = intake.writer.note(Activity {
        at: intake.environment.now(),
        actor: Actor::Agent(cluster),
        event: "cluster-claim-refused".into(),
        cluster: Some(cluster),
        finding: None,
        cause: "an agent claimed to be another cluster than its certificate names".into(),
        detail: json!({ "claimed": claimed }),
    });
    if let Err(error) = noted.await {
        tracing::error!(cluster.id = %cluster, error = &error as &dyn std::error::Error, "a refusal could not be logged");
    }
    Status::permission_denied("the certificate names another cluster than the Hello claims")
}

async fn digest(store: &Store, cluster: ClusterId) -> Result<LedgerDigest, Status> {
    let statements = store.statements(cluster).await.map_err(|error| status(&error.into()))?;
    let mut digest = LedgerDigest::default();
    for (finding, hash) in statements {
        digest.toggle(finding, hash);
    }
    Ok(digest)
}

async fn send(outbound: &Outbound, message: To) -> Result<(), Status> {
    let sent = outbound.send(Ok(v1::ToAgent { message: Some(message) })).await;
    sent.map_err(|_| Status::cancelled("the agent is gone"))
}

/// A stream after its Hello.
struct AgentStream<'a> {
    intake: &'a Intake,
    cluster: ClusterId,
    certificate: &'a [u8],
    outbound: &'a Outbound,
    jobs: Jobs,
    /// What was stated as failing since buckets were compared; none before that.
    repeated: Option<HashSet<FindingId>>,
    /// The parts of an attestation that is still coming.
    parts: Joiner,
}

impl AgentStream<'_> {
    async fn serve(
        &mut self,
        mut inbound: impl Stream<Item = Result<v1::FromAgent, Status>> + Unpin,
    ) -> Result<(), Status> {
        loop {
            tokio::select! {
                Some(done) = self.jobs.next() => self.settle(done).await?,
                message = inbound.next(), if self.jobs.len() < AHEAD => match message.transpose()? {
                    Some(message) => self.take(message).await?,
                    None => return self.drain().await,
                },
            }
        }
    }

    async fn take(&mut self, message: v1::FromAgent) -> Result<(), Status> {
        match message.message {
            Some(From::Batch(batch)) => self.batch(batch).await,
            Some(From::Buckets(buckets)) => self.buckets(&buckets).await,
            Some(From::RetestAnswer(answer)) => self.answer(answer).await,
            Some(From::NodeCsr(asked)) => {
                let certified = self.intake.certify.certify(self.cluster, asked);
                self.jobs.push_back(certified.map(|certificate| Ok(Some(To::NodeCertificate(certificate)))).boxed());
                Ok(())
            }
            Some(From::Heartbeat(_)) => self.intake.writer.seen(self.cluster).await.map_err(|error| status(&error)),
            Some(From::Hello(_)) => Err(Status::failed_precondition("Hello comes once")),
            // A kind of message that a later version knows.
            None => Ok(()),
        }
    }

    async fn batch(&mut self, mut wire: v1::Batch) -> Result<(), Status> {
        let buckets = check::complete_buckets(std::mem::take(&mut wire.complete_buckets))?;
        let mut batch = check::batch(self.cluster, wire, self.intake.environment.now())?;
        if let Some(repeated) = &mut self.repeated {
            repeated.extend(batch.stated.iter().filter(|stated| check::fails(stated)).map(|stated| stated.id));
        }
        if !buckets.is_empty() {
            let Some(repeated) = self.repeated.take() else {
                return Err(Status::failed_precondition("batch.complete_buckets: no buckets have been compared"));
            };
            batch.complete = Some(Complete { buckets, repeated });
        }
        let ack = v1::Ack { epoch: batch.epoch, sequence: batch.sequence };
        let pending = self.intake.writer.apply(self.cluster, batch).await.map_err(|error| status(&error))?;
        self.jobs.push_back(async move { pending.outcome().await.map(|_| Some(To::Ack(ack))) }.boxed());
        Ok(())
    }

    /// Compared with what is on record once everything before is.
    async fn buckets(&mut self, wire: &v1::Buckets) -> Result<(), Status> {
        self.drain().await?;
        let digest = digest(&self.intake.store, self.cluster).await?;
        let theirs = wire.digests.iter().map(|bucket| <[u8; 16]>::try_from(bucket.as_slice()));
        let theirs: Vec<_> = theirs
            .collect::<Result<_, _>>()
            .map_err(|_| Status::invalid_argument("buckets.digests: one of them is not 16 bytes"))?;
        let numbers = digest.differing(&theirs);
        self.repeated = (!numbers.is_empty()).then(HashSet::new);
        send(self.outbound, To::DifferingBuckets(v1::DifferingBuckets { numbers })).await
    }

    async fn answer(&mut self, part: v1::RetestAnswer) -> Result<(), Status> {
        let joined = self.parts.take(part).map_err(|too_large| Status::resource_exhausted(too_large.to_string()))?;
        let Some(wire) = joined else { return Ok(()) };
        let answer = match check::attestation(wire, self.certificate, &self.intake.root, self.intake.environment.now())
        {
            Ok(answer) => answer,
            Err(problem) => return self.refuse_attestation(&problem).await,
        };
        let pending = self.intake.writer.answer(self.cluster, answer).await.map_err(|error| status(&error))?;
        self.jobs.push_back(async move { pending.outcome().await.map(|_| None) }.boxed());
        Ok(())
    }

    async fn refuse_attestation(&mut self, problem: &str) -> Result<(), Status> {
        let noted = self.intake.writer.note(Activity {
            at: self.intake.environment.now(),
            actor: Actor::Agent(self.cluster),
            event: "attestation-refused".into(),
            cluster: Some(self.cluster),
            finding: None,
            cause: "an agent's attestation proves nothing".into(),
            detail: json!({ "problem": problem }),
        });
        noted.await.map_err(|error| status(&error))?;
        Err(Status::permission_denied(format!("the attestation is refused: {problem}")))
    }

    /// A job that was refused by the lifecycle is an answer that came too late; every other failure ends the stream.
    async fn settle(&mut self, done: Result<Option<To>, WriteError>) -> Result<(), Status> {
        match done {
            Ok(Some(message)) => send(self.outbound, message).await,
            Ok(None) => Ok(()),
            Err(WriteError::Refused(Refused::OtherSubject)) => {
                self.refuse_attestation("it is about something else than its order").await
            }
            Err(WriteError::Refused(refused)) => {
                tracing::debug!(cluster.id = %self.cluster, %refused, "an answer to a retest came to nothing");
                Ok(())
            }
            Err(error) => Err(status(&error)),
        }
    }

    async fn drain(&mut self) -> Result<(), Status> {
        while let Some(done) = self.jobs.next().await {
            self.settle(done).await?;
        }
        Ok(())
    }
}
