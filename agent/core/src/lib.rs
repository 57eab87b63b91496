//! What the agent of a cluster knows and owes: pure state machines, which `holdfast-agent` feeds and whose outputs it sends.

pub mod ledger;
pub mod text;
