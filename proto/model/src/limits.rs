//! Bounds of the wire, the same on both ends. Each is checked on arrival, and kept by the sender on departure.

/// The largest message, encoded.
pub const MESSAGE_BYTES: usize = 1024 * 1024;
/// The sender closes a batch at this size: what a batch still adds for its frame fits between this and the limit.
pub const BATCH_BYTES: usize = 512 * 1024;
/// The longest string of any field: longer ones are cut by the agent and refused by the aggregator.
pub const STRING_BYTES: usize = 4096;
/// The longest name of a node, or of a run: parts of a key of the record.
pub const NAME_BYTES: usize = 512;
/// The most locations in one statement. An agent keeps the first ones and says how many it left out.
pub const LOCATIONS: usize = 256;
/// The largest attestation, in as many messages as it takes: the statements of some 6,000 nodes.
pub const ATTESTATION_BYTES: usize = 16 * 1024 * 1024;
