//! What sensors saw, as evidence under the top owner of the Pod that did it. Sensors fold and count from their own start; what
//! is told on is how often it was seen since.

use holdfast_controls::running::act;
use holdfast_model::sighting::Sighting;
use holdfast_model::{RuntimeEvidence, UnixMillis};

use super::Engine;
use super::view::REPEATS;

/// The most acts whose counts are remembered; beyond it, a count may begin anew.
const REMEMBERED: usize = 65_536;
/// The largest record that is looked at.
const RECORD_BYTES: usize = 64 * 1024;

/// One act as the sensor folds it: the same node, container, kind and particulars.
pub(super) type Act = (String, u64, &'static str, String, String, String);

impl Engine {
    /// Takes in records of one node: sightings in canonical bytes, hostile until they are parsed.
    pub fn sight(&mut self, node: &str, records: &[Vec<u8>], now: UnixMillis) {
        for record in records.iter().filter(|record| record.len() <= RECORD_BYTES) {
            match serde_json::from_slice::<Sighting>(record) {
                Ok(sighting) => self.sight_one(node, &sighting, now),
                Err(error) => tracing::debug!(node, %error, "a record of a sensor is no sighting"),
            }
        }
    }

    fn sight_one(&mut self, node: &str, sighting: &Sighting, now: UnixMillis) {
        let Some(placed) = self.places.pod(&sighting.pod).filter(|placed| placed.node == node) else { return };
        let (Some(owner), Some(spec)) = (placed.owner.clone(), self.specification(&placed)) else { return };
        let Some((control, fact)) = act::evidence(sighting, spec) else { return };
        let count = self.since(node, sighting);
        if count == 0 {
            return;
        }
        let container = placed.containers.iter().find(|known| known.id == sighting.container && !known.id.is_empty());
        let name = container.map(|known| known.name.as_str());
        let seen = RuntimeEvidence {
            count,
            first_seen_at: sighting.first.min(now),
            last_seen_at: sighting.last.min(now),
            ..RuntimeEvidence::once(vec![act::place(sighting, fact, node, &placed.name, name)], now)
        };
        self.show(&owner, control, seen, REPEATS, now);
    }

    /// How often it was done since it was last told; all of it where the sensor has begun anew.
    fn since(&mut self, node: &str, sighting: &Sighting) -> u64 {
        let Sighting { cgroup, kind, binary, path, object, count, .. } = sighting;
        if self.acts.len() >= REMEMBERED {
            self.acts.clear();
        }
        let act = (node.to_owned(), *cgroup, kind.word(), binary.clone(), path.clone(), object.clone());
        let before = self.acts.insert(act, *count).unwrap_or_default();
        if *count >= before { count - before } else { *count }
    }
}
