//! How far a pattern has spread: the reading of the fleet and the band that it falls into.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::control::string_enum;

string_enum!(
    /// How far a pattern has spread over the fleet, least first.
    Band, "band" {
        /// Few enough to be one team's slip.
        Isolated = "isolated",
        /// More than one cluster: worth one fix at the source.
        Several = "several",
        /// A good part of the fleet.
        Widespread = "widespread",
        /// The way this fleet is built.
        Systemic = "systemic",
    }
);

/// One reading of a pattern: how many clusters have it, of how many that can judge its control.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// Clusters whose finding of the pattern is active, also while excepted or offline.
    pub clusters: u32,
    /// Clusters whose coverage can judge the control.
    pub judging: u32,
}

impl Reading {
    /// The share in percent, rounded down. A cluster that has the problem counts even if its coverage was lost since.
    pub fn share_percent(self) -> u32 {
        let whole = u64::from(self.judging.max(self.clusters)).max(1);
        (u64::from(self.clusters) * 100 / whole) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_never_passes_the_whole() {
        assert_eq!(Reading { clusters: 3, judging: 2 }.share_percent(), 100);
        assert_eq!(Reading::default().share_percent(), 0);
        assert_eq!(Reading { clusters: u32::MAX, judging: u32::MAX }.share_percent(), 100);
    }
}
