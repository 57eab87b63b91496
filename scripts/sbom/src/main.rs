//! Prints the software bill of materials of one image as CycloneDX 1.5: `holdfast-sbom PACKAGE ROOT`.
//!
//! It lists every crate that the package is linked with (from `cargo metadata` and `Cargo.lock`) and every file in the image's
//! root folder with its hash. It contains no time and no random number: equal inputs give equal bytes. Code in other languages
//! that is built into a crate counts as that crate; there is no base image to list.

mod crates;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crates::Crates;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let (package, root) = args.next().zip(args.next()).context("usage: holdfast-sbom PACKAGE ROOT")?;
    let crates = Crates::linked_with(&package)?;
    println!("{}", serde_json::to_string_pretty(&bill(&crates, &files(Path::new(&root))?))?);
    Ok(())
}

fn bill(crates: &Crates, files: &[Value]) -> Value {
    let components: Vec<_> = crates.components().into_iter().chain(files.iter().cloned()).collect();
    json!({
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
        "metadata": {
            "component": crates.root(),
            "tools": {"components": [{"type": "application", "name": "holdfast-sbom", "version": env!("CARGO_PKG_VERSION")}]},
        },
        "components": components,
        "dependencies": crates.dependencies(),
    })
}

/// Every file below a folder, by its path in the image.
fn files(root: &Path) -> Result<Vec<Value>> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let inside = Path::new("/").join(path.strip_prefix(root)?).display().to_string();
                let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
                found.push((inside, HEXLOWER.encode(&Sha256::digest(&bytes))));
            }
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(path, hash)| file(&path, &hash)).collect())
}

fn file(path: &str, hash: &str) -> Value {
    json!({
        "type": "file", "bom-ref": format!("file:{path}"), "name": path,
        "hashes": [{"alg": "SHA-256", "content": hash}],
    })
}
