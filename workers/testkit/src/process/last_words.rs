//! The part of a log that explains a failure: its end, and the complaints before that, which a
//! server that shuts down in good order buries under a hundred lines about its shutdown.

const END_LINES: usize = 25;
const MOST_COMPLAINTS: usize = 8;

const COMPLAINTS: [&str; 5] = ["ERROR", "FATAL", "PANIC", "Exception", "panicked"];
const HARMLESS: [&str; 2] = [" INFO ", " DEBUG "];

/// The last few complaints, each once, and the last lines.
pub(super) fn last_words(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    let (before, end) = lines.split_at(lines.len().saturating_sub(END_LINES));
    let mut complaints: Vec<&str> = Vec::new();
    for line in before.iter().rev().filter(|line| is_complaint(line)) {
        if complaints.len() < MOST_COMPLAINTS && !complaints.contains(line) {
            complaints.push(line);
        }
    }
    complaints.reverse();
    if !complaints.is_empty() {
        complaints.push("...");
    }
    [complaints.as_slice(), end].concat().join("\n")
}

fn is_complaint(line: &str) -> bool {
    let has_one_of = |words: &[&str]| words.iter().any(|word| line.contains(word));
    has_one_of(&COMPLAINTS) && !has_one_of(&HARMLESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_log_is_shown_whole() {
        assert_eq!(last_words("a\nERROR b\nc\n"), "a\nERROR b\nc");
        assert_eq!(last_words(""), "");
    }

    #[test]
    fn complaints_are_shown_however_much_follows_them() {
        let shutdown = "shutting down\n".repeat(200);
        let log =
            format!("starting\nERROR port taken\n\tat Socket.bind\nERROR port taken\n{shutdown}");
        let words = last_words(&log);
        assert!(
            words.starts_with("ERROR port taken\n...\nshutting down\n"),
            "{words}"
        );
        assert_eq!(words.lines().count(), 2 + END_LINES);
    }

    #[test]
    fn a_line_that_only_informs_is_no_complaint() {
        let log = format!(
            "10:00 INFO queue - RejectedExecutionException\n{}",
            "x\n".repeat(40)
        );
        assert!(last_words(&log).starts_with("x\n"));
    }
}
