//! A running aggregator: what is started, in which order, and how it ends. A table, no decisions.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use holdfast_api_types::Role;
use holdfast_model::Actor;
use holdfast_proto::v1::enrolment_server::EnrolmentServer;
use holdfast_store::Store;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;

use crate::api::{AppState, issue, router};
use crate::authority::{Authority, AuthoritySettings, files};
use crate::enrol::Enrolments;
use crate::environment::{SharedEnvironment, SystemEnvironment};
use crate::fleet::policy;
use crate::intake::Intake;
use crate::jobs::{self, Jobs};
use crate::live::Live;
use crate::sessions::Sessions;
use crate::settings::Settings;
use crate::writer::Writer;

/// The file of the first administrator's token, in the data folder.
pub const ADMIN_TOKEN: &str = "admin.token";
/// The file of the root's fingerprint, in the data folder: what a verifier of receipts needs.
pub const ROOT_FINGERPRINT: &str = "root.fingerprint";

/// A running aggregator.
pub struct Aggregator {
    state: AppState,
    api: SocketAddr,
    agents: SocketAddr,
    token: String,
    stop: watch::Sender<bool>,
    tasks: tokio::sync::Mutex<JoinSet<&'static str>>,
}

impl Aggregator {
    /// Opens the record and serves.
    pub async fn start(settings: Settings) -> Result<Self> {
        files::folder(&settings.data)?;
        let environment: SharedEnvironment = Arc::new(SystemEnvironment::default());
        let authority = open_authority(&settings, environment.now())?;
        let policy = Arc::new(settings.policy.as_deref().map_or_else(policy::shipped, policy::load)?);
        let store = Store::open(&address(&settings)).await.context("opening the store")?;
        let live = Live::default();
        let sessions = Sessions::default();
        let enrolments = Enrolments::new(store.clone(), authority.clone(), live.clone(), environment.clone());
        let (writer, writing) =
            Writer::start(store.clone(), environment.clone(), policy.clone(), live.clone(), sessions.clone());
        let token = admin_token(&settings.data, &store, environment.now()).await?;
        let state = AppState {
            store: store.clone(),
            authority: authority.clone(),
            writer: writer.clone(),
            sessions: sessions.clone(),
            enrolments: enrolments.clone(),
            live: live.clone(),
            environment: environment.clone(),
            jobs: Jobs::default(),
        };
        let intake = Intake {
            store: store.clone(),
            writer: writer.clone(),
            sessions: sessions.clone(),
            environment: environment.clone(),
            identify: Arc::new(enrolments.clone()),
            certify: Arc::new(enrolments.clone()),
            root: authority.root().into(),
        };

        let api = bind(settings.api, "the API").await?;
        let agents = bind(settings.agents, "agents").await?;
        let (stop, stopping) = watch::channel(false);
        let mut aggregator = Self {
            api: api.local_addr()?,
            agents: agents.local_addr()?,
            token,
            stop,
            tasks: tokio::sync::Mutex::default(),
            state: state.clone(),
        };
        let tasks = aggregator.tasks.get_mut();
        tasks.spawn(named("writer", async { drop(writing.await) }));
        let recheck = settings.recheck;
        let parts = jobs::Parts { store, writer, authority: authority.clone(), environment, policy, recheck };
        for job in jobs::all(parts) {
            state.jobs.register(job.as_ref());
            let AppState { jobs, live, environment, .. } = state.clone();
            tasks.spawn(named(job.name(), jobs::drive(job, jobs, live, environment, stopping.clone())));
        }
        tasks.spawn(named("api", serve_api(api, state, stopping.clone())));
        tasks.spawn(named("agents", serve_agents(agents, authority, enrolments, intake, stopping)));
        Ok(aggregator)
    }

    /// Where the API is.
    pub fn api_url(&self) -> String {
        format!("http://{}", self.api)
    }

    /// Where agents find it.
    pub fn agents_url(&self) -> String {
        format!("https://{}", self.agents)
    }

    /// What handlers work with: `holdfast up` adds clusters through it.
    pub fn state(&self) -> &AppState {
        &self.state
    }

    /// The first administrator's token.
    pub fn admin_token(&self) -> &str {
        &self.token
    }

    /// Waits until a part ends by itself, and names it. A running aggregator never answers.
    pub async fn failed(&self) -> &'static str {
        match self.tasks.lock().await.join_next().await {
            Some(Ok(name)) => name,
            _ => "a part that panicked",
        }
    }

    /// Ends everything: no new work, then the open streams, then the store.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        let mut tasks = self.tasks.into_inner();
        let ended = tokio::time::timeout(GRACE, async { while tasks.join_next().await.is_some() {} });
        if ended.await.is_err() {
            tasks.shutdown().await;
        }
        self.state.store.close().await;
    }
}

/// How long open requests may take to end.
const GRACE: std::time::Duration = std::time::Duration::from_secs(2);

async fn named(name: &'static str, task: impl Future<Output = ()>) -> &'static str {
    task.await;
    name
}

async fn serve_api(listener: TcpListener, state: AppState, stopping: watch::Receiver<bool>) {
    let served = axum::serve(listener, router(state)).with_graceful_shutdown(stopped(stopping));
    if let Err(error) = served.await {
        tracing::error!(error = &error as &dyn std::error::Error, "the API stopped");
    }
}

async fn serve_agents(
    listener: TcpListener,
    authority: Arc<Authority>,
    enrolments: Enrolments,
    intake: Intake,
    stopping: watch::Receiver<bool>,
) {
    let served = async {
        Server::builder()
            .tls_config(authority.tls())?
            .http2_keepalive_interval(Some(std::time::Duration::from_secs(20)))
            .add_service(EnrolmentServer::new(enrolments).max_decoding_message_size(64 * 1024))
            .add_service(intake.service())
            .serve_with_incoming_shutdown(TcpListenerStream::new(listener), stopped(stopping))
            .await
    };
    if let Err(error) = served.await {
        tracing::error!(error = &error as &dyn std::error::Error, "serving agents stopped");
    }
}

async fn stopped(mut stopping: watch::Receiver<bool>) {
    // An error means that the aggregator itself was dropped, which stops it too.
    let _ = stopping.wait_for(|stop| *stop).await;
}

async fn bind(address: SocketAddr, what: &str) -> Result<TcpListener> {
    let bound = TcpListener::bind(address).await;
    bound.with_context(|| format!("listening at {address} for {what}: is something else running there?"))
}

fn open_authority(settings: &Settings, now: i64) -> Result<Arc<Authority>> {
    let wanted = AuthoritySettings { server_names: settings.names.clone(), ..AuthoritySettings::default() };
    let authority = Authority::open(&settings.data, &wanted, now).context("opening the authority")?;
    files::replace(&settings.data.join(ROOT_FINGERPRINT), &format!("{}\n", authority.fingerprint()))?;
    Ok(Arc::new(authority))
}

fn address(settings: &Settings) -> String {
    let embedded = || format!("sqlite:{}", settings.data.join("record.sqlite").display());
    settings.store.clone().unwrap_or_else(embedded)
}

/// The first administrator's token: made once, kept where only this user reads it.
async fn admin_token(data: &Path, store: &Store, now: i64) -> Result<String> {
    let path = data.join(ADMIN_TOKEN);
    if let Some(token) = files::read(&path)? {
        return Ok(token.trim().to_owned());
    }
    let issued =
        issue::issue(store, "first administrator", Role::Admin, Actor::Holdfast("operator".to_owned()), now).await?;
    files::create(&path, &issued.text)?;
    Ok(issued.text)
}
