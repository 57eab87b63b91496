//! Compiles `programs/*.bpf.c` with clang. The objects carry CO-RE relocations: one of them fits every kernel, so it is built
//! once, embedded, and relocated when it is loaded. Every file of `programs/sensor` goes into the object of the sensors; the
//! object that the unit tests load has those of `programs/test_sensor` too.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    println!("cargo::rerun-if-changed=programs");
    println!("cargo::rerun-if-env-changed=CLANG");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let sensors = files("programs/sensor")?;
    let with_tests = [sensors.clone(), files("programs/test_sensor")?].concat();
    compile(&[], Path::new("programs/view.bpf.c"), &out.join("view.o"))?;
    compile(&sensors, Path::new("programs/sensors.bpf.c"), &out.join("sensors.o"))?;
    compile(&with_tests, Path::new("programs/sensors.bpf.c"), &out.join("sensors_test.o"))
}

/// The files of a folder, by name.
fn files(folder: &str) -> Result<Vec<PathBuf>, Failure> {
    let mut files =
        Path::new(folder).read_dir()?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, Failure>>()?;
    files.sort();
    Ok(files)
}

fn compile(included: &[PathBuf], source: &Path, object: &Path) -> Result<(), Failure> {
    let clang = env::var("CLANG").unwrap_or_else(|_| "clang".to_owned());
    let arch = env::var("CARGO_CFG_TARGET_ARCH")?;
    let mut command = Command::new(&clang);
    command.args(["-O2", "-g", "-target", "bpf", "-mcpu=v3", "-Wall", "-Werror", "-Wno-unused-function", "-c"]);
    command.arg(format!("-DARCH_{arch}"));
    // Debug information must not name the folder of whoever builds.
    command.arg("-fdebug-compilation-dir=.");
    included.iter().for_each(|file| _ = command.arg("-include").arg(file));
    let status = command.arg(source).arg("-o").arg(object).status().map_err(|error| {
        format!("{clang}: {error}: the kernel's programs are compiled by clang; on Debian: apt-get install clang")
    })?;
    status.success().then_some(()).ok_or_else(|| format!("{clang} refused {}", source.display()).into())
}
