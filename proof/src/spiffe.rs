//! Whom a certificate names: one SPIFFE URI inside the trust domain of an installation.
//!
//! Read exactly or not at all: no other case, no empty segment, no query. Who may have which name is decided by the
//! aggregator's authority; who is believed under it, by each end of a connection.

use std::fmt;

use holdfast_model::ClusterId;

/// The longest name of a Kubernetes Node: a DNS subdomain.
const NODE_BYTES: usize = 253;

/// The name of a Kubernetes Node: lower-case letters, digits, `-` and `.`, at most 253.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeName(Box<str>);

impl NodeName {
    /// The name, if it is one that a Node can have.
    pub fn parse(text: &str) -> Option<Self> {
        let edge = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let label = |label: &str| {
            let bytes = label.as_bytes();
            let ends = bytes.first().copied().is_some_and(edge) && bytes.last().copied().is_some_and(edge);
            ends && bytes.iter().all(|&b| edge(b) || b == b'-')
        };
        let fits = text.len() <= NODE_BYTES && text.split('.').all(label);
        fits.then(|| Self(text.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whom a certificate names, inside a trust domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Party {
    /// The root itself.
    Root,
    /// The agent of this cluster: its cluster part, which speaks to the aggregator and which its nodes speak to.
    Cluster(ClusterId),
    /// The agent of one node of this cluster.
    Node(ClusterId, NodeName),
    /// The aggregator that signs log heads and receipts.
    Aggregator,
}

/// A SPIFFE name: `spiffe://<trust domain>/cluster/<id>`, `…/cluster/<id>/node/<name>`, `…/aggregator`, or the trust domain
/// alone for its root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpiffeName {
    /// The installation: `holdfast-<id>`.
    pub trust_domain: String,
    /// Who, inside it.
    pub party: Party,
}

impl fmt::Display for SpiffeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spiffe://{}", self.trust_domain)?;
        match &self.party {
            Party::Root => Ok(()),
            Party::Cluster(cluster) => write!(f, "/cluster/{cluster}"),
            Party::Node(cluster, node) => write!(f, "/cluster/{cluster}/node/{node}"),
            Party::Aggregator => f.write_str("/aggregator"),
        }
    }
}

impl SpiffeName {
    /// Exactly the text that [`fmt::Display`] writes.
    pub fn parse(uri: &str) -> Option<Self> {
        let rest = uri.strip_prefix("spiffe://")?;
        let (trust_domain, path) = rest.split_once('/').map_or((rest, None), |(domain, path)| (domain, Some(path)));
        let party = match path {
            None => Party::Root,
            Some("aggregator") => Party::Aggregator,
            Some(path) => member(path.strip_prefix("cluster/")?)?,
        };
        let name = Self { trust_domain: trust_domain.to_owned(), party };
        let domain_fits = !trust_domain.is_empty()
            && trust_domain.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b));
        (domain_fits && name.to_string() == uri).then_some(name)
    }
}

fn member(path: &str) -> Option<Party> {
    match path.split_once("/node/") {
        None => Some(Party::Cluster(path.parse().ok()?)),
        Some((cluster, node)) => Some(Party::Node(cluster.parse().ok()?, NodeName::parse(node)?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_exactly_or_not_at_all() {
        let cluster = ClusterId::from_bytes([7; 16]);
        let node = NodeName::parse("ip-10-0-0-1.eu-west-1.compute.internal").unwrap();
        for party in [Party::Root, Party::Aggregator, Party::Cluster(cluster), Party::Node(cluster, node)] {
            let name = SpiffeName { trust_domain: "holdfast-x".into(), party };
            assert_eq!(SpiffeName::parse(&name.to_string()), Some(name));
        }
        let upper = cluster.to_string().to_ascii_uppercase().replace("C_", "c_");
        for near_miss in [
            "spiffe://",
            "spiffe:///aggregator",
            "spiffe://holdfast-x/",
            "spiffe://holdfast-x/aggregator/",
            "spiffe://holdfast-x//aggregator",
            "spiffe://Holdfast-x/aggregator",
            "SPIFFE://holdfast-x/aggregator",
            "spiffe://u@holdfast-x/aggregator",
            "spiffe://holdfast-x:1/aggregator",
            "spiffe://holdfast-x/aggregator?a",
            &format!("spiffe://holdfast-x/cluster/{upper}"),
            &format!("spiffe://holdfast-x/cluster/{cluster}/x"),
            &format!("spiffe://holdfast-x/cluster/{cluster}/node/"),
            &format!("spiffe://holdfast-x/cluster/{cluster}/node/Worker"),
            &format!("spiffe://holdfast-x/cluster/{cluster}/node/a/node/b"),
            &format!("spiffe://holdfast-x/cluster/{upper}/node/a"),
            &format!("https://holdfast-x/cluster/{cluster}"),
        ] {
            assert_eq!(SpiffeName::parse(near_miss), None, "{near_miss}");
        }
    }

    #[test]
    fn a_node_is_named_as_kubernetes_names_it() {
        for name in ["a", "worker-1", "10.0.0.1", &"a".repeat(253)] {
            assert_eq!(NodeName::parse(name).unwrap().as_str(), name);
        }
        for name in ["", ".", "..", "-a", "a-", "a..b", "a.-b", "A", "a/b", "a_b", "ä", "a ", &"a".repeat(254)] {
            assert_eq!(NodeName::parse(name), None, "{name}");
        }
    }
}
