//! The clusters to look at: the contexts that the user named, after the user has seen what that means.

use std::io::{IsTerminal, Write};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use holdfast_agent::{KubeSource, rights};
use k8s_openapi::api::core::v1::Namespace;
use kube::config::{KubeConfigOptions, Kubeconfig};

use crate::render::{escape, remark};

/// One cluster to look at.
pub(super) struct Target {
    /// The name that it gets in the record.
    pub(super) name: String,
    /// How its agent reaches the API server.
    pub(super) kube: KubeSource,
    /// The uid of its namespace kube-system.
    pub(super) fingerprint: String,
}

/// The contexts that the user named, after the user has seen what that means.
pub(super) async fn named(contexts: &[String], kubeconfig: Option<&Path>, agreed: bool) -> Result<Vec<Target>> {
    let mut targets = Vec::new();
    for context in contexts {
        let config = match kubeconfig {
            Some(path) => Kubeconfig::read_from(path)?,
            None => Kubeconfig::read()?,
        };
        let options = KubeConfigOptions { context: Some(context.clone()), ..KubeConfigOptions::default() };
        let config = kube::Config::from_custom_kubeconfig(config, &options).await;
        let config = config.with_context(|| format!("the context {context:?} of your kubeconfig can't be used"))?;
        remark(&format!("{} is {}", escape::line(context), config.cluster_url));
        targets.push((context.clone(), kube::Client::try_from(config)?));
    }
    remark("Holdfast will use these rights there, with your credentials, and no others:");
    for right in rights::rights() {
        let group = if right.group.is_empty() { String::new() } else { format!(".{}", right.group) };
        remark(&format!("  {:<18} {}{group}: {}", right.verbs.join(", "), right.resource, right.reason));
    }
    if !agreed && !ask()? {
        bail!("nothing was done; run it again with --yes to agree beforehand");
    }
    let mut found = Vec::new();
    for (name, client) in targets {
        let fingerprint = fingerprint(&client).await.with_context(|| format!("{name:?} does not answer"))?;
        found.push(Target { name: cluster_name(&name), kube: KubeSource::Client(client), fingerprint });
    }
    Ok(found)
}

fn ask() -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Ok(false);
    }
    eprint!("Go on? [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// The uid of kube-system: what makes this cluster this cluster.
pub(super) async fn fingerprint(client: &kube::Client) -> Result<String> {
    let namespace = kube::Api::<Namespace>::all(client.clone()).get("kube-system").await?;
    namespace.metadata.uid.context("kube-system has no uid")
}

/// A context's name as a cluster's: `arn:aws:eks:…/prod` becomes `arn-aws-eks-prod`.
fn cluster_name(context: &str) -> String {
    let allowed = |letter: char| matches!(letter, 'a'..='z' | '0'..='9' | '-' | '.');
    let mut name = String::new();
    for letter in context.to_lowercase().chars().map(|letter| if allowed(letter) { letter } else { '-' }) {
        if !(letter == '-' && name.ends_with('-')) {
            name.push(letter);
        }
    }
    let name: String = name.trim_matches(['-', '.']).chars().take(63).collect();
    if name.is_empty() { "cluster".to_owned() } else { name.trim_end_matches(['-', '.']).to_owned() }
}

#[cfg(test)]
mod tests {
    use super::cluster_name;

    #[test]
    fn a_context_becomes_a_name_that_a_cluster_may_have() {
        assert_eq!(cluster_name("arn:aws:eks:eu-west-1:1:cluster/Prod"), "arn-aws-eks-eu-west-1-1-cluster-prod");
        assert_eq!(cluster_name("kind-kind"), "kind-kind");
        assert_eq!(cluster_name("///"), "cluster");
    }
}
