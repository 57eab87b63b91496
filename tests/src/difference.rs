//! The lines in which two texts differ, for goldens that hold only what a values file changes.

/// How many equal lines stand before and after a change.
const AROUND: usize = 2;

/// One line of the comparison.
#[derive(Clone, Copy, PartialEq, Eq)]
enum DiffLine<'a> {
    Equal(&'a str),
    Removed(&'a str),
    Added(&'a str),
}

/// The differing lines with a little around them; empty for equal texts.
pub fn difference(before: &str, after: &str) -> String {
    let lines = compare(&before.lines().collect::<Vec<_>>(), &after.lines().collect::<Vec<_>>());
    let changed = |at: usize| !matches!(lines[at], DiffLine::Equal(_));
    let mut text = String::new();
    let mut shown_until = 0;
    for at in 0..lines.len() {
        let near = at.saturating_sub(AROUND)..(at + AROUND + 1).min(lines.len());
        if !near.into_iter().any(changed) {
            continue;
        }
        if at > shown_until {
            text.push_str("  …\n");
        }
        shown_until = at + 1;
        text.push_str(&match lines[at] {
            DiffLine::Equal(line) => format!("  {line}\n"),
            DiffLine::Removed(line) => format!("- {line}\n"),
            DiffLine::Added(line) => format!("+ {line}\n"),
        });
    }
    text
}

/// By the longest common subsequence, in quadratic memory: objects of a chart have some hundred lines at most.
fn compare<'a>(before: &[&'a str], after: &[&'a str]) -> Vec<DiffLine<'a>> {
    let mut longest = vec![vec![0_u32; after.len() + 1]; before.len() + 1];
    for old in (0..before.len()).rev() {
        for new in (0..after.len()).rev() {
            longest[old][new] = if before[old] == after[new] {
                longest[old + 1][new + 1] + 1
            } else {
                longest[old + 1][new].max(longest[old][new + 1])
            };
        }
    }
    let (mut old, mut new) = (0, 0);
    let mut lines = Vec::new();
    while old < before.len() || new < after.len() {
        if old < before.len() && new < after.len() && before[old] == after[new] {
            lines.push(DiffLine::Equal(before[old]));
            (old, new) = (old + 1, new + 1);
        } else if new == after.len() || (old < before.len() && longest[old + 1][new] >= longest[old][new + 1]) {
            lines.push(DiffLine::Removed(before[old]));
            old += 1;
        } else {
            lines.push(DiffLine::Added(after[new]));
            new += 1;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_shown_with_two_lines_around_it() {
        let before = "a\nb\nc\nd\ne\nf\ng\nh\n";
        assert_eq!(difference(before, before), "");
        assert_eq!(difference(before, "a\nb\nc\nd\ne\nF\ng\nh\n"), "  …\n  d\n  e\n- f\n+ F\n  g\n  h\n");
        assert_eq!(difference("a\n", "a\nb\n"), "  a\n+ b\n");
        assert_eq!(difference("", "a\n"), "+ a\n");
    }
}
