//! Tiers: tests that need something of the machine. A test that can't run prints that it is skipped, or fails where its tier
//! is required.

use std::collections::BTreeSet;

use anyhow::{Result, bail};

/// What a test has prepared, or `None` where the tier can't run. `HOLDFAST_REQUIRE` lists the tiers that may not be skipped,
/// separated by commas.
pub fn available<T>(tier: &str, prepared: Result<T>) -> Result<Option<T>> {
    match prepared {
        Ok(ready) => Ok(Some(ready)),
        Err(error) if required().contains(tier) => bail!("HOLDFAST_REQUIRE names {tier}, but: {error:#}"),
        Err(error) => {
            println!("skipped: tier {tier} can't run here: {error:#}");
            Ok(None)
        }
    }
}

fn required() -> BTreeSet<String> {
    let names = std::env::var("HOLDFAST_REQUIRE").unwrap_or_default();
    names.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
}
