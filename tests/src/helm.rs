//! The charts of this repository rendered, linted and installed by the real `helm`.
//!
//! This module knows where the charts are and how to parse what `helm` prints; the suites know what must be in it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// The `helm` program.
pub struct Helm {
    folder: PathBuf,
}

/// One object that a chart renders.
#[derive(Debug, Clone)]
pub struct Rendered {
    /// Kind and name, `deployment-holdfast-agent`.
    pub name: String,
    /// As it was printed, with its comments.
    pub text: String,
    /// Parsed.
    pub object: Value,
}

/// The outcome of a run of `helm`.
#[derive(Debug)]
pub struct HelmOutput {
    /// Whether it exited with 0.
    pub success: bool,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Helm {
    /// Finds `helm`, or builds it.
    pub async fn prepare() -> Result<Self> {
        let folder = tokio::task::spawn_blocking(|| holdfast_lab::helm(|line| println!("{line}"))).await??;
        Ok(Self { folder })
    }

    /// The folder to put on a shell's PATH.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Runs it without the settings of this machine's user.
    pub async fn run(&self, args: &[&str]) -> Result<HelmOutput> {
        let home = tempfile::tempdir()?;
        let mut command = tokio::process::Command::new(self.folder.join("helm"));
        for variable in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            command.env(variable, home.path());
        }
        let output = command.args(args).env_remove("KUBECONFIG").kill_on_drop(true).output().await?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(HelmOutput { success: output.status.success(), out: text(&output.stdout), err: text(&output.stderr) })
    }

    /// Runs it and answers its standard output; fails with its standard error.
    pub async fn print(&self, args: &[&str]) -> Result<String> {
        let output = self.run(args).await?;
        ensure!(output.success, "`helm {}`: {}", args.join(" "), output.err);
        Ok(output.out)
    }

    /// The objects of a chart, sorted by name.
    pub async fn render(&self, chart: &str, more: &[&str]) -> Result<Vec<Rendered>> {
        let (path, values) = (chart_path(chart), values(chart, "default"));
        let start = ["template", chart, &path, "--namespace", "holdfast", "--values", &values];
        let printed = self.print(&[&start[..], more].concat()).await?;
        let mut objects: Vec<_> = printed.split("---\n# Source: ").skip(1).map(rendered).collect::<Result<_>>()?;
        objects.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(objects)
    }
}

/// The folder of a chart.
pub fn chart_path(chart: &str) -> String {
    root().join("charts").join(chart).display().to_string()
}

/// The path of a values file in a chart's `ci/` folder.
pub fn values(chart: &str, name: &str) -> String {
    format!("{}/ci/{name}-values.yaml", chart_path(chart))
}

/// The names of a chart's values files.
pub fn values_files(chart: &str) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(Path::new(&chart_path(chart)).join("ci"))? {
        let file = entry?.file_name().into_string().ok().context("a file's name is no text")?;
        names.push(file.strip_suffix("-values.yaml").context("not a values file")?.to_owned());
    }
    names.sort();
    Ok(names)
}

/// The repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned).unwrap_or_default()
}

/// Parses one document after `# Source: `, whose first line is the template's path.
fn rendered(document: &str) -> Result<Rendered> {
    let (source, text) = document.split_once('\n').context("a document of one line")?;
    let object: Value = serde_saphyr::from_str(text).with_context(|| format!("{source}: {text}"))?;
    let part = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).map(str::to_lowercase);
    let kind = part("/kind").with_context(|| format!("{source} has no kind"))?;
    let name = part("/metadata/name").with_context(|| format!("{source} has no name"))?;
    Ok(Rendered { name: format!("{kind}-{name}"), text: format!("{}\n", text.trim_end()), object })
}
