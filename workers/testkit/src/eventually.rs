//! Waiting for a condition: look, and look again, until it holds or the deadline has passed.

use std::fmt::Display;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use crate::{Error, Result};

/// Short beside anything that a test waits for, long beside the cost of a look.
const PAUSE_BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// Calls `look` until it returns `Ok(Some(value))`, and returns the value.
///
/// `Ok(None)` and `Err` both mean *not yet*: what is waited for often fails before it works.
/// An error is kept as the last state seen, so say there what was found instead:
/// `anyhow::bail!("{arrived} of {expected} rows")`.
///
/// # Errors
///
/// [`Error::TimedOut`], with `what` and the last state seen, when `deadline` has passed. A look
/// that is still under way then is abandoned.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> testkit::Result<()> {
/// use std::time::Duration;
///
/// let (sender, receiver) = tokio::sync::watch::channel(0);
/// tokio::spawn(async move { sender.send_modify(|rows| *rows += 3) });
///
/// let rows = testkit::eventually(Duration::from_secs(5), "three rows", async || {
///     match *receiver.borrow() {
///         3 => Ok(Some(3)),
///         rows => anyhow::bail!("{rows} rows"),
///     }
/// })
/// .await?;
/// assert_eq!(rows, 3);
/// # Ok(())
/// # }
/// ```
pub async fn eventually<T, E: Display, Look>(
    deadline: Duration,
    what: impl Into<String>,
    mut look: impl FnMut() -> Look,
) -> Result<T>
where
    Look: Future<Output = std::result::Result<Option<T>, E>>,
{
    let started = Instant::now();
    let last_moment = started + deadline;
    let mut last = String::from("nothing; the first look had not ended");
    loop {
        match timeout_at(last_moment, look()).await {
            Ok(Ok(Some(value))) => return Ok(value),
            Ok(Ok(None)) => last = String::from("not yet"),
            Ok(Err(error)) => last = format!("{error:#}"),
            Err(_elapsed) => {}
        }
        if Instant::now() + PAUSE_BETWEEN_LOOKS >= last_moment {
            return Err(Error::TimedOut {
                what: what.into(),
                waited: started.elapsed(),
                last,
            });
        }
        sleep(PAUSE_BETWEEN_LOOKS).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    const LONG: Duration = Duration::from_secs(30);
    const SHORT: Duration = Duration::from_millis(100);

    #[tokio::test]
    async fn the_value_is_returned_once_a_look_finds_it() {
        let looks = AtomicU32::new(0);
        let found = eventually(LONG, "three looks", async || {
            let look = looks.fetch_add(1, Ordering::Relaxed) + 1;
            anyhow::Ok((look == 3).then_some("found"))
        })
        .await;
        assert_eq!(found.unwrap(), "found");
        assert_eq!(looks.into_inner(), 3);
    }

    #[tokio::test]
    async fn a_failure_names_the_condition_and_the_last_state_seen() {
        let failure = eventually(SHORT, "all rows", async || {
            Err::<Option<()>, _>(anyhow::anyhow!("disk full").context("row refused"))
        })
        .await
        .unwrap_err()
        .to_string();
        assert!(failure.contains("waiting for all rows"), "{failure}");
        assert!(
            failure.ends_with("last seen: row refused: disk full"),
            "{failure}"
        );
    }

    #[tokio::test]
    async fn a_look_that_never_ends_is_abandoned_at_the_deadline() {
        let failure = eventually(SHORT, "an answer", async || {
            std::future::pending::<anyhow::Result<Option<()>>>().await
        })
        .await
        .unwrap_err()
        .to_string();
        assert!(
            failure.contains("the first look had not ended"),
            "{failure}"
        );
    }

    #[tokio::test]
    async fn it_runs_inside_a_spawned_task() {
        let task = tokio::spawn(async {
            let name = String::from("x");
            eventually(LONG, "x", async || anyhow::Ok(Some(name.len()))).await
        });
        assert_eq!(task.await.unwrap().unwrap(), 1);
    }
}
