//! What the demo shows: the tables as an analyst sees them, and the proof for ops.

use crate::check::Verdict;
use anyhow::Result;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use sqlx::Row;
use sqlx::postgres::PgConnection;

const COURSES: &str = "
    SELECT left(course_id::text, 8) || '…', summary_date::text, total_enrollments_on_day::text,
           total_completions_on_day::text,
           (total_learning_time_seconds_on_day * interval '1 second')::text
    FROM course_engagement_summary ORDER BY total_enrollments_on_day DESC, course_id LIMIT 6";
const COMPANIES: &str = "
    SELECT left(company_id::text, 8) || '…', summary_date::text, active_learners_count::text,
           total_certificates_earned_on_day::text
    FROM company_learning_summary ORDER BY active_learners_count DESC, company_id LIMIT 6";
const TYPES: &str = "
    SELECT event_type, count(*)::text, count(DISTINCT user_id)::text, min(event_timestamp)::timestamp(0)::text
    FROM raw_events_log GROUP BY 1 ORDER BY count(*) DESC";
const DEAD_LETTERS: &str = "
    SELECT topic || '[' || partition || ']@' || record_offset, coalesce(event_type, '?'), kind, left(reason, 60)
    FROM engine.dead_letters ORDER BY id LIMIT 6";

/// Prints the summary tables.
///
/// # Errors
/// The database cannot be asked.
pub async fn analyst(connection: &mut PgConnection) -> Result<()> {
    println!("\nFor analysts: course_engagement_summary, the busiest rows");
    print_rows(
        connection,
        COURSES,
        &[
            "course",
            "day (UTC)",
            "enrolments",
            "completions",
            "learning time",
        ],
    )
    .await?;
    println!("\nFor analysts: company_learning_summary, the busiest rows");
    print_rows(
        connection,
        COMPANIES,
        &["company", "day (UTC)", "active learners", "certificates"],
    )
    .await?;
    println!("\nFor analysts: raw_events_log by type");
    print_rows(connection, TYPES, &["event", "count", "people", "first"]).await
}

/// Prints what ops want to know.
///
/// # Errors
/// The database cannot be asked.
pub async fn ops(connection: &mut PgConnection, verdict: &Verdict) -> Result<()> {
    println!("\nFor ops: dead letters, with the reason");
    print_rows(
        connection,
        DEAD_LETTERS,
        &["where", "event", "kind", "reason"],
    )
    .await?;
    println!("\nFor ops: the producer's ledger against plain SQL");
    let mut table = Table::new();
    table
        .load_style(UTF8_FULL_CONDENSED)
        .set_header(["", "records"]);
    for (name, count) in [
        ("sent (events, repeats and broken records)", verdict.sent),
        ("applied", verdict.applied),
        ("recognised as repeats", verdict.duplicates),
        ("in the dead letter topic", verdict.dead_lettered),
        ("lost", verdict.lost),
        ("applied more than once", verdict.doubled),
        (
            "rows that differ from the ledger",
            verdict.differences.len() as u64,
        ),
    ] {
        table.add_row([name.to_owned(), count.to_string()]);
    }
    println!("{table}");
    for difference in &verdict.differences {
        println!("  {difference}");
    }
    Ok(())
}

async fn print_rows(
    connection: &mut PgConnection,
    sql: &'static str,
    header: &[&str],
) -> Result<()> {
    let mut table = Table::new();
    table
        .load_style(UTF8_FULL_CONDENSED)
        .set_header(header.iter().copied());
    for row in sqlx::query(sql).fetch_all(connection).await? {
        let cells: Vec<String> = (0..header.len())
            .map(|column| {
                row.try_get::<Option<String>, _>(column)
                    .ok()
                    .flatten()
                    .unwrap_or_default()
            })
            .collect();
        table.add_row(cells);
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}");
    Ok(())
}
