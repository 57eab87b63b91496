//! `holdfast check` on one file of Deployments, as a process, compared with two floors in the same run: reading the bytes and
//! finding the documents, and parsing the same objects as JSON.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::child::{self, Cost};
use crate::figure::{Effort, Figure, Peer, Samples};
use crate::fixture;

/// Measures time and memory over four sizes.
pub fn measure(effort: &Effort) -> Result<Vec<Figure>> {
    let holdfast = sibling_program("holdfast")?;
    let folder = tempfile::tempdir()?;
    let mut curve = Vec::new();
    let mut last = None;
    for n in effort.sizes(10_000) {
        let files = Files::write(folder.path(), n)?;
        let runs = Runs::take(&holdfast, &files, effort.rounds())?;
        curve.push((n, runs.ours.wall.median()));
        last = Some((n, runs));
    }
    let (n, runs) = last.context("there is at least one size")?;
    Ok(vec![Figure {
        name: "check a file of Deployments".to_owned(),
        unit: "s",
        n,
        samples: runs.ours.wall,
        cpu: Some(runs.ours.cpu.median()),
        peak: Some(runs.ours.peak.max()),
        peers: vec![
            Peer { name: "read and split the bytes", samples: runs.split.wall },
            Peer { name: "parse the same as JSON", samples: runs.json.wall },
        ],
        curve,
        aim: "0.5 s, 100 MB",
    }])
}

/// A program of this workspace, built into the same folder as this one.
fn sibling_program(name: &str) -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    ensure!(path.is_file(), "{} is not built: run `cargo build --release --bins` first", path.display());
    Ok(path)
}

struct Files {
    yaml: PathBuf,
    json: PathBuf,
}

impl Files {
    fn write(folder: &Path, n: usize) -> Result<Self> {
        let files = Self { yaml: folder.join(format!("{n}.yaml")), json: folder.join(format!("{n}.json")) };
        let mut yaml = BufWriter::new(File::create(&files.yaml)?);
        let mut json = BufWriter::new(File::create(&files.json)?);
        let mut source = fixture::source();
        for i in 0..n {
            let deployment = fixture::deployment(&mut source, i);
            write!(yaml, "---\n{}", serde_yaml_out::to_string(&deployment)?)?;
            writeln!(json, "{deployment}")?;
        }
        yaml.flush()?;
        json.flush()?;
        Ok(files)
    }
}

#[derive(Default)]
struct Sampled {
    wall: Samples,
    cpu: Samples,
    peak: Samples,
}

impl Sampled {
    fn push(&mut self, cost: Cost) {
        self.wall.push(cost.wall);
        self.cpu.push(cost.cpu);
        self.peak.push(cost.peak);
    }
}

#[derive(Default)]
struct Runs {
    ours: Sampled,
    split: Sampled,
    json: Sampled,
}

impl Runs {
    fn take(holdfast: &Path, files: &Files, rounds: usize) -> Result<Self> {
        let this = std::env::current_exe()?;
        let (yaml, json) = (text(&files.yaml)?, text(&files.json)?);
        let mut runs = Self::default();
        for _ in 0..rounds {
            let (cost, status) = child::run(holdfast, &["check", yaml])?;
            // Every 40th Deployment is privileged, so the exit code must be 1.
            ensure!(status.code() == Some(1), "holdfast check ended with {status}");
            runs.ours.push(cost);
            runs.split.push(child::run(&this, &["--floor", "split", yaml])?.0);
            runs.json.push(child::run(&this, &["--floor", "json", json])?.0);
        }
        Ok(runs)
    }
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("the temporary folder's name is text")
}

/// Runs a floor; the benchmark starts this as a separate process.
pub fn run_floor(floor: &str, file: &Path) -> Result<ExitCode> {
    let reader = BufReader::with_capacity(256 * 1024, File::open(file)?);
    let found = match floor {
        "split" => split(reader)?,
        "json" => parse(file)?,
        _ => bail!("there is no floor {floor:?}"),
    };
    println!("{found}");
    Ok(ExitCode::SUCCESS)
}

fn split(mut reader: impl BufRead) -> Result<usize> {
    let (mut line, mut documents) = (Vec::new(), 0);
    while reader.read_until(b'\n', &mut line)? > 0 {
        documents += usize::from(line.starts_with(b"---"));
        line.clear();
    }
    Ok(documents)
}

fn parse(file: &Path) -> Result<usize> {
    let bytes = fs::read(file)?;
    let mut objects = 0;
    for value in serde_json::Deserializer::from_slice(&bytes).into_iter::<Value>() {
        objects += usize::from(value?.is_object());
    }
    Ok(objects)
}
