//! What tools print.
//!
//! Invariant: a reader that has gone away (`fleet topics apply | head`) neither ends nor breaks
//! off what a tool is doing.

use std::fmt::Display;
use std::io::Write;

/// A line of results, on standard output.
pub fn say(line: impl Display) {
    let _nobody_reads = writeln!(std::io::stdout(), "{line}");
}

/// A line about the work itself, on standard error.
pub fn note(line: impl Display) {
    let _nobody_reads = writeln!(std::io::stderr(), "{line}");
}

/// A number with its noun: `1 problem`, `2 problems`.
pub fn counted(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_no_plural() {
        assert_eq!(counted(0, "event"), "0 events");
        assert_eq!(counted(1, "event"), "1 event");
        assert_eq!(counted(2, "event"), "2 events");
    }
}
