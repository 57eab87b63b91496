//! What a check found: the types that the outputs render. They know nothing of formats, and hold nothing of a manifest but
//! names, field paths and the short values that controls put into their evidence.

use std::collections::BTreeMap;

use holdfast_controls::Control;
use holdfast_controls::pod_security::Level;
use holdfast_model::{Location, Resource, Severity};

/// Where an object or a problem stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Index of the file in [`Report::files`].
    pub file: usize,
    /// Number of the document in its file, from 1; 0 when the file as a whole is meant.
    pub document: usize,
    /// Number of the object in a list, from 1.
    pub item: Option<usize>,
    /// Line, from 1; 0 when unknown.
    pub line: usize,
}

/// One control that fails on one subject.
#[derive(Debug, Clone)]
pub struct Finding {
    /// What it is about.
    pub resource: Resource,
    /// The control.
    pub control: &'static Control,
    /// Where the subject, or the object that stands for it, was read.
    pub place: Place,
    /// The narrowest level of the Pod Security Standards that the subject fits, where it has pods.
    pub level: Option<Level>,
    /// The fields, each with the place of the object that holds it.
    pub fields: Vec<(Place, Location)>,
}

/// How bad a problem with the input is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// It could not be evaluated.
    Error,
    /// It was evaluated, but the API server would refuse or ignore a part of it.
    Warning,
}

impl Weight {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// Something about the input that its author should know.
#[derive(Debug, Clone)]
pub struct Problem {
    /// How bad it is.
    pub weight: Weight,
    /// Where.
    pub place: Place,
    /// Field path, where one is meant.
    pub field: Option<String>,
    /// What is wrong and what to do, for people.
    pub message: String,
}

/// Everything that a check found.
#[derive(Debug, Default)]
pub struct Report {
    /// The names of the files, as the user would name them.
    pub files: Vec<String>,
    /// Findings, by place.
    pub findings: Vec<Finding>,
    /// Problems, by place.
    pub problems: Vec<Problem>,
    /// How many objects were judged.
    pub judged: usize,
    /// How many objects of kinds that no control reads were passed over, by kind.
    pub passed_over: BTreeMap<String, usize>,
    /// Controls that could not be judged from files, with how many subjects each concerns and why.
    pub unknown: BTreeMap<&'static str, (usize, String)>,
}

impl Report {
    /// The file that a place is in.
    pub fn file(&self, place: &Place) -> &str {
        self.files.get(place.file).map_or("", String::as_str)
    }

    /// How many findings there are of each severity, the worst first, without the empty ones.
    pub fn by_severity(&self) -> Vec<(Severity, usize)> {
        let count = |severity| self.findings.iter().filter(|finding| finding.control.severity == severity).count();
        Severity::ALL.iter().rev().map(|s| (*s, count(*s))).filter(|(_, n)| *n > 0).collect()
    }

    /// Whether anything could not be evaluated.
    pub fn is_incomplete(&self) -> bool {
        self.problems.iter().any(|problem| problem.weight == Weight::Error)
    }
}
