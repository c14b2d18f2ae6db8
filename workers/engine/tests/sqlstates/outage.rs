//! What every outage has in common.

use crate::support::{Bed, event, key_in, until_nothing_waits, until_waiting};
use chrono::{DateTime, Utc};
use engine::{Running, Settings};
use std::time::Duration;

/// Each attempt's message stays on the board long enough to be seen.
pub fn visible(mut settings: Settings) -> Settings {
    settings.backoff = (Duration::from_millis(100), Duration::from_millis(200));
    settings
}

/// A fault, how it begins and how it ends; both are the owner's statements.
pub struct Outage<'o> {
    pub sqlstate: &'o str,
    /// The word of the event that meets it.
    pub word: &'o str,
    pub begin: &'o str,
    pub end: &'o str,
}

impl Outage<'_> {
    /// Sends an event into the outage. It waits, visibly and since the outage was met; nothing is
    /// dead-lettered or skipped; it is applied when the outage has ended.
    pub async fn is_waited_out(&self, bed: &Bed, running: &Running) {
        let before = bed.count("SELECT count(*) FROM applied").await;
        bed.sql(self.begin).await;
        let began = Utc::now();
        bed.send(event(key_in(0), 1, self.word)).await;
        self.is_met(bed, running, began, before).await;
        bed.sql(self.end).await;
        bed.until_applied(before + 1).await;
        until_nothing_waits(running).await;
    }

    /// The outage is on the board, with the time when it was met, and nothing has been skipped.
    pub async fn is_met(&self, bed: &Bed, running: &Running, began: DateTime<Utc>, before: i64) {
        let words = format!("(SQLSTATE {})", self.sqlstate);
        let waiting = until_waiting(running, "postgres", &words).await;
        assert!(
            waiting.since >= began && waiting.since <= Utc::now(),
            "{waiting:?}"
        );
        assert_eq!(
            bed.count("SELECT count(*) FROM applied").await,
            before,
            "{words}"
        );
        assert_eq!(
            bed.count("SELECT count(*) FROM engine.dead_letters").await,
            0,
            "{words}"
        );
        running.board().live(Duration::from_secs(5)).unwrap();
        running.board().ready().unwrap_err();
    }
}
