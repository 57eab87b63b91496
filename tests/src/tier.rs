//! Tiers of tests that need something of the machine: a suite that can't run says so, and fails where it is required.

use std::collections::BTreeSet;

use anyhow::{Result, bail};

/// Runs a story if what it needs is there. `HOLDFAST_REQUIRE` lists the tiers that may not be skipped, by comma.
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
