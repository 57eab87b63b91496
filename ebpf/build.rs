//! Compiles `programs/*.bpf.c` with clang. The objects carry CO-RE relocations: one of them fits every kernel, so it is built
//! once, embedded in the program, and moved into shape when it is loaded.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let programs = Path::new("programs");
    println!("cargo::rerun-if-changed={}", programs.display());
    println!("cargo::rerun-if-env-changed=CLANG");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    for entry in programs.read_dir()? {
        let source = entry?.path();
        let name = source.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if let Some(stem) = name.strip_suffix(".bpf.c") {
            compile(&source, &out.join(format!("{stem}.o")))?;
        }
    }
    Ok(())
}

fn compile(source: &Path, object: &Path) -> Result<(), Failure> {
    let clang = env::var("CLANG").unwrap_or_else(|_| "clang".to_owned());
    let arch = env::var("CARGO_CFG_TARGET_ARCH")?;
    let status = Command::new(&clang)
        .args(["-O2", "-g", "-target", "bpf", "-mcpu=v3", "-Wall", "-Werror", "-Wno-unused-function", "-c"])
        .arg(format!("-DARCH_{arch}"))
        .arg(source)
        .arg("-o")
        .arg(object)
        // Debug information must not name the folder of whoever builds.
        .arg("-fdebug-compilation-dir=.")
        .status()
        .map_err(|error| {
            format!("{clang}: {error}: the kernel's programs are compiled by clang; on Debian: apt-get install clang")
        })?;
    status.success().then_some(()).ok_or_else(|| format!("{clang} refused {}", source.display()).into())
}
