//! What every command gets: where the server is and who asks. It reads settings; it sends nothing until asked for a client.

use std::path::PathBuf;

use anyhow::{Context as _, bail};

use crate::api::profile::Profile;
use crate::api::{Client, Endpoint};

/// Where to ask, and as whom.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Connection")]
pub struct Connection {
    /// Address of the aggregator's API, as `https://holdfast.example.com`
    #[arg(long, env = "HOLDFAST_SERVER", value_name = "URL", global = true)]
    pub server: Option<String>,
    /// API token; prefer HOLDFAST_TOKEN, because a command line can be read by other users of this machine
    #[arg(long, env = "HOLDFAST_TOKEN", hide_env_values = true, value_name = "TOKEN", global = true)]
    pub token: Option<String>,
    /// PEM file with the certificate authority of the aggregator's API, where the system does not know it
    #[arg(long, env = "HOLDFAST_CA_FILE", value_name = "FILE", global = true)]
    pub ca_file: Option<PathBuf>,
}

/// The settings of this run.
#[derive(Debug)]
pub struct Context {
    connection: Connection,
}

impl Context {
    /// The context of these settings.
    pub fn new(connection: Connection) -> Self {
        Self { connection }
    }

    /// A client of the aggregator that the settings name.
    pub fn client(&self) -> anyhow::Result<Client> {
        Client::new(self.endpoint(Profile::load()?)?)
    }

    /// Flags win over the environment (clap sees to that), both win over the profile. The profile's token goes to the
    /// profile's server only: another server named by hand never gets it.
    fn endpoint(&self, profile: Option<Profile>) -> anyhow::Result<Endpoint> {
        let Connection { server, token, ca_file } = self.connection.clone();
        let same_server = |profile: &Profile| server.as_ref().is_none_or(|named| same(named, &profile.server));
        let profile = profile.filter(same_server);
        let server = server.or_else(|| profile.as_ref().map(|profile| profile.server.clone())).context(
            "no server is known: start one with `holdfast up`, or name one with --server or HOLDFAST_SERVER",
        )?;
        let Some(token) = token.or_else(|| profile.as_ref().map(|profile| profile.token.clone())) else {
            bail!("no token for {server} is known: set HOLDFAST_TOKEN to an API token of that server");
        };
        let ca_file = ca_file.or_else(|| profile.and_then(|profile| profile.ca_file));
        Ok(Endpoint { server, token, ca_file })
    }
}

fn same(a: &str, b: &str) -> bool {
    a.trim_end_matches('/').eq_ignore_ascii_case(b.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile() -> Option<Profile> {
        Some(Profile { server: "http://127.0.0.1:8470".into(), token: "from-profile".into(), ca_file: None })
    }

    fn context(server: Option<&str>, token: Option<&str>) -> Context {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Context::new(Connection { server: owned(server), token: owned(token), ca_file: None })
    }

    #[test]
    fn a_named_token_wins_over_the_profile() {
        let endpoint = context(None, Some("named")).endpoint(profile()).unwrap();
        assert_eq!((endpoint.server.as_str(), endpoint.token.as_str()), ("http://127.0.0.1:8470", "named"));
    }

    #[test]
    fn the_token_of_the_profile_is_not_sent_to_another_server() {
        let error = context(Some("https://elsewhere.example"), None).endpoint(profile()).unwrap_err();
        assert!(error.to_string().contains("set HOLDFAST_TOKEN"), "{error}");
        assert_eq!(context(Some("http://127.0.0.1:8470/"), None).endpoint(profile()).unwrap().token, "from-profile");
    }

    #[test]
    fn without_any_server_the_error_says_how_to_start_one() {
        assert!(context(None, None).endpoint(None).unwrap_err().to_string().contains("`holdfast up`"));
    }
}
