//! A figure: samples of Holdfast and of a floor or peer, taken alternately, as one line of JSON and one row of a table.

use std::fmt::Write;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;
use serde_json::json;

use crate::machine::Machine;

/// How much to measure.
#[derive(Debug)]
pub struct Effort {
    quick: bool,
    churn: Duration,
}

impl Effort {
    /// Toy sizes, or real ones.
    pub fn new(quick: bool, churn: Duration) -> Self {
        Self { quick, churn }
    }

    /// How long containers are started and ended to measure what accumulates.
    pub fn churn(&self) -> Duration {
        if self.quick { Duration::from_secs(2) } else { self.churn }
    }

    /// Rounds in which Holdfast and the floor alternate.
    pub fn rounds(&self) -> usize {
        if self.quick { 2 } else { 7 }
    }

    /// The number of samples of something that takes milliseconds.
    pub fn samples(&self) -> usize {
        if self.quick { 5 } else { 200 }
    }

    /// This size, or a toy size.
    pub fn size(&self, whole: usize) -> usize {
        if self.quick { (whole / 100).max(8) } else { whole }
    }

    /// Eighth, quarter, half and whole of this size.
    pub fn sizes(&self, whole: usize) -> [usize; 4] {
        let whole = self.size(whole);
        [whole / 8, whole / 4, whole / 2, whole]
    }
}

/// Samples of one quantity.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// Adds one.
    pub fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// The median.
    pub fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let half = sorted.len() / 2;
        match sorted.len() {
            0 => f64::NAN,
            n if n % 2 == 1 => sorted[half],
            _ => f64::midpoint(sorted[half - 1], sorted[half]),
        }
    }

    /// The 99th percentile.
    pub fn p99(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get((sorted.len() * 99).div_ceil(100).saturating_sub(1)).copied().unwrap_or(f64::NAN)
    }

    /// Whether there are enough samples for a p99.
    fn has_tail(&self) -> bool {
        self.0.len() >= 100
    }

    /// The least.
    pub fn min(&self) -> f64 {
        self.0.iter().copied().fold(f64::NAN, f64::min)
    }

    /// The greatest.
    pub fn max(&self) -> f64 {
        self.0.iter().copied().fold(f64::NAN, f64::max)
    }
}

impl FromIterator<f64> for Samples {
    fn from_iter<T: IntoIterator<Item = f64>>(values: T) -> Self {
        Self(values.into_iter().collect())
    }
}

/// What Holdfast is compared with in the same run.
#[derive(Debug)]
pub struct Peer {
    /// Its name.
    pub name: &'static str,
    /// Its samples, in the figure's unit.
    pub samples: Samples,
}

/// One figure at its full size, and how it grows.
#[derive(Debug)]
pub struct Figure {
    /// What is measured.
    pub name: String,
    /// The unit of the samples.
    pub unit: &'static str,
    /// Size of the input.
    pub n: usize,
    /// Samples at full size.
    pub samples: Samples,
    /// CPU seconds, where Holdfast is measured as a process.
    pub cpu: Option<f64>,
    /// Peak MiB, where Holdfast is measured as a process.
    pub peak: Option<f64>,
    /// Floors and peers.
    pub peers: Vec<Peer>,
    /// Median cost at each size, for the exponent: always something that grows with the size.
    pub curve: Vec<(usize, f64)>,
    /// The aim.
    pub aim: &'static str,
}

impl Figure {
    /// `b` of cost = a·n^b, by least squares over the curve.
    pub fn exponent(&self) -> f64 {
        let points: Vec<_> = self.curve.iter().map(|(n, cost)| ((*n as f64).ln(), cost.ln())).collect();
        let count = points.len() as f64;
        let (x, y) = points.iter().fold((0.0, 0.0), |(x, y), point| (x + point.0 / count, y + point.1 / count));
        let above: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
        let below: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
        above / below
    }

    /// The figure as one line of JSON.
    pub fn line(&self, machine: &Machine) -> Result<String> {
        let ours = self.samples.median();
        let peers: Vec<_> = self
            .peers
            .iter()
            .map(|peer| json!({ "name": peer.name, "median": peer.samples.median(), "ratio": ours / peer.samples.median() }))
            .collect();
        let curve: Vec<_> = self.curve.iter().map(|(n, cost)| json!({ "n": n, "cost": cost })).collect();
        let line = json!({
            "figure": self.name, "unit": self.unit, "n": self.n, "median": ours, "min": self.samples.min(),
            "max": self.samples.max(), "p99": self.samples.has_tail().then(|| self.samples.p99()), "rounds": self.samples.0.len(), "cpu_seconds": self.cpu, "peak_mib": self.peak,
            "peers": peers, "curve": curve, "exponent": self.exponent(), "aim": self.aim, "machine": machine,
        });
        Ok(serde_json::to_string(&line)?)
    }
}

/// The figures as a table in Markdown.
pub fn table(figures: &[Figure], machine: &Machine) -> String {
    let mut text = format!("Measured on {machine}.\n\n");
    text +=
        "| figure | n | median (min to max, or p99) | CPU | peak | compared with, in the same run | growth | aim |\n";
    text += "|---|---|---|---|---|---|---|---|\n";
    for figure in figures {
        let ours = &figure.samples;
        let median = ours.median();
        let (least, most) = (short(ours.min()), short(ours.max()));
        let range = match ours.has_tail() {
            true => format!("{} (p99 {}) {}", short(median), short(ours.p99()), figure.unit),
            false => format!("{} ({least} to {most}) {}", short(median), figure.unit),
        };
        let cpu = figure.cpu.map_or("".to_owned(), |cpu| format!("{} s", short(cpu)));
        let peak = figure.peak.map_or("".to_owned(), |peak| format!("{} MiB", short(peak)));
        let peers: Vec<_> = figure
            .peers
            .iter()
            .map(|peer| {
                format!("{} {} (x {:.2})", peer.name, short(peer.samples.median()), median / peer.samples.median())
            })
            .collect();
        let growth = match figure.curve.len() {
            0 | 1 => String::new(),
            _ => format!("n^{:.2}", figure.exponent()),
        };
        // Writing into a string cannot fail.
        let _ = writeln!(
            text,
            "| {} | {} | {range} | {cpu} | {peak} | {} | {growth} | {} |",
            figure.name,
            figure.n,
            peers.join(", "),
            figure.aim
        );
    }
    text
}

/// Three significant digits.
fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(values: &[f64]) -> Samples {
        Samples(values.to_vec())
    }

    #[test]
    fn the_median_is_the_middle_or_between_the_two_middles() {
        assert_eq!(samples(&[3.0, 1.0, 2.0]).median(), 2.0);
        assert_eq!(samples(&[4.0, 1.0, 2.0, 3.0]).median(), 2.5);
    }

    #[test]
    fn one_of_a_hundred_may_exceed_the_p99() {
        let hundred: Samples = (1..=100).rev().map(f64::from).collect();
        assert_eq!((hundred.p99(), samples(&[7.0]).p99()), (99.0, 7.0));
    }

    #[test]
    fn the_exponent_of_a_square_is_two() {
        let figure = Figure {
            name: "square".into(),
            unit: "s",
            n: 8,
            samples: samples(&[1.0]),
            cpu: None,
            peak: None,
            peers: Vec::new(),
            curve: vec![(1, 3.0), (2, 12.0), (4, 48.0), (8, 192.0)],
            aim: "",
        };
        assert!((figure.exponent() - 2.0).abs() < 1e-9);
    }
}
