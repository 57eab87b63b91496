//! The words of the Pod Security Standards that a Namespace's labels use: levels and versions. What a level asks for is decided
//! in `crate::pod_security`.

use std::fmt;

/// A version of the standards, `v1.34` or `latest`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(u16);

/// A level of the standards, the widest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Everything is allowed.
    Privileged,
    /// Known ways out of a container are not.
    Baseline,
    /// Current hardening practice is required.
    Restricted,
}

impl Version {
    /// The newest version, whichever that is.
    pub const LATEST: Self = Self(u16::MAX);

    /// `v1.<minor>`.
    pub const fn minor(minor: u16) -> Self {
        Self(minor)
    }

    /// Reads `latest` or `v1.x` as the API server does. What it cannot read it takes for `latest`, and so should the caller.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "latest" {
            return Some(Self::LATEST);
        }
        let minor = text.strip_prefix("v1.")?;
        let plain = minor.bytes().all(|byte| byte.is_ascii_digit()) && (minor == "0" || !minor.starts_with('0'));
        minor.parse().ok().filter(|_| plain).map(Self)
    }

    /// Whether this is `v1.<minor>` or newer.
    pub const fn reaches(self, minor: u16) -> bool {
        self.0 >= minor
    }

    /// Whether pods for Windows are exempt from what only Linux has.
    pub const fn exempts_windows(self) -> bool {
        self.reaches(25)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::LATEST { f.write_str("latest") } else { write!(f, "v1.{}", self.0) }
    }
}

impl Level {
    /// Every level, the widest first.
    pub const ALL: [Self; 3] = [Self::Privileged, Self::Baseline, Self::Restricted];

    /// The API server's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Privileged => "privileged",
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        }
    }

    /// Reads the API server's word. What it cannot read it takes for `restricted`, and so should the caller.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str() == text)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
