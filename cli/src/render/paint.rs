//! Colour, as a hint beside the word, never instead of it: on a terminal only, and not when NO_COLOR is set.

use std::io::IsTerminal;

use comfy_table::Color;

/// What a word tells about how things stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Nothing to say.
    Plain,
    /// All is well.
    Good,
    /// Look at it.
    Warn,
    /// Act on it.
    Bad,
    /// Less important than its neighbours.
    Dim,
}

impl Tone {
    /// The tone of one of Holdfast's words.
    pub fn of(word: &str) -> Self {
        match word {
            "critical" | "high" | "still-failing" | "forbidden" | "failing" | "revoked" | "systemic" => Self::Bad,
            "medium" | "in-progress" | "resolved" | "unreachable" | "inconclusive" | "absent" | "widespread" => {
                Self::Warn
            }
            "verified" | "fixed" | "seen" | "connected" => Self::Good,
            "info" | "retired" | "offline" => Self::Dim,
            _ => Self::Plain,
        }
    }

    /// The colour for it in a table; none where colour is not wanted.
    pub fn color(self) -> Option<Color> {
        let color = match self {
            Self::Plain => return None,
            Self::Good => Color::Green,
            Self::Warn => Color::Yellow,
            Self::Bad => Color::Red,
            Self::Dim => Color::DarkGrey,
        };
        wanted().then_some(color)
    }
}

/// A word in the colour of its tone.
pub fn word(text: &str) -> String {
    tinted(text, Tone::of(text))
}

/// A text in the colour of a tone.
pub fn tinted(text: &str, tone: Tone) -> String {
    let code = match tone {
        Tone::Good => "32",
        Tone::Warn => "33",
        Tone::Bad => "31",
        Tone::Dim => "2",
        Tone::Plain => return text.to_owned(),
    };
    if wanted() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

/// A heading.
pub fn heading(text: &str) -> String {
    if wanted() { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
}

fn wanted() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
