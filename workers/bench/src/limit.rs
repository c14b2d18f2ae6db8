//! The limit: the same rows by the same SQL, batch size and connections, without Kafka, decoding or
//! bookkeeping of positions. What the database can take.

use anyhow::{Context, Result};
use chrono::NaiveDate;
use demo::story::Told;
use events::plain_json;
use sqlx::postgres::PgConnection;
use sqlx::{Connection, Row};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// One row of the log and its share of the summaries, ready to be written.
#[derive(Clone)]
pub struct Line {
    id: Uuid,
    micros: i64,
    day: NaiveDate,
    source: &'static str,
    event_type: &'static str,
    user_id: Option<Uuid>,
    company_id: Option<Uuid>,
    entity_id: Uuid,
    payload: String,
    course_id: Option<Uuid>,
    enrolled: i32,
    completed: i32,
    seconds: i64,
    is_active: bool,
    certificates: i32,
}

/// The rows that the worker has to make of the events.
pub fn lines(events: &[Told]) -> Result<Vec<Line>> {
    events.iter().map(line).collect()
}

fn line(told: &Told) -> Result<Line> {
    let json = plain_json::write(&told.payload)?;
    let event_type = told.payload.event_type().contract().name;
    let has_course = matches!(
        event_type,
        "COURSE_ENROLLED"
            | "COURSE_COMPLETED"
            | "LESSON_STARTED"
            | "LESSON_COMPLETED"
            | "QUIZ_ATTEMPTED"
    );
    Ok(Line {
        id: told.id,
        micros: told.time.timestamp_micros(),
        day: told.time.date_naive(),
        source: "progress-service",
        event_type,
        user_id: told.payload.user_id(),
        company_id: told.payload.company_id(),
        entity_id: told.payload.subject(),
        course_id: demo::fold::id(&json["course_id"]).filter(|_| has_course),
        enrolled: i32::from(event_type == "COURSE_ENROLLED"),
        completed: i32::from(event_type == "COURSE_COMPLETED"),
        seconds: json["learning_seconds"].as_i64().unwrap_or(0),
        is_active: has_course && event_type != "COURSE_ENROLLED",
        certificates: i32::from(event_type == "CERTIFICATE_ISSUED"),
        payload: json.to_string(),
    })
}

/// Writes all rows over some connections and says how long that took.
pub async fn run(url: &str, lines: &[Line], connections: usize, batch: usize) -> Result<Duration> {
    let mut shares: Vec<Vec<Line>> = vec![Vec::new(); connections];
    for (index, line) in lines.iter().enumerate() {
        shares[index * connections / lines.len()].push(line.clone());
    }
    let mut ready = Vec::new();
    for share in shares {
        ready.push((PgConnection::connect(url).await?, share));
    }
    let started = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for (mut connection, share) in ready {
        tasks.spawn(async move {
            sqlx::raw_sql("SET plan_cache_mode = force_generic_plan")
                .execute(&mut connection)
                .await?;
            for chunk in share.chunks(batch) {
                write(&mut connection, chunk).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.context("a connection's task")??;
    }
    Ok(started.elapsed())
}

async fn write(connection: &mut PgConnection, lines: &[Line]) -> Result<()> {
    sqlx::raw_sql("BEGIN").execute(&mut *connection).await?;
    let mut ids: Vec<Uuid> = lines.iter().map(|line| line.id).collect();
    ids.sort_unstable();
    let known = sqlx::query(
        "SELECT id, content_hash FROM raw_events_log WHERE id = ANY($1) AND id BETWEEN $2 AND $3",
    )
    .bind(&ids)
    .bind(ids.first())
    .bind(ids.last())
    .fetch_all(&mut *connection)
    .await?;
    anyhow::ensure!(known.is_empty(), "the rows are there already");

    let mut copy = connection
        .copy_in_raw(
            "COPY raw_events_log (id, content_hash, event_timestamp, event_source_service, event_type,
               user_id, company_id, entity_id, payload) FROM STDIN (FORMAT binary)",
        )
        .await?;
    for chunk in encode(lines).chunks(1 << 20) {
        copy.send(chunk).await?;
    }
    copy.finish().await?;
    add_companies(connection, lines).await?;
    add_courses(connection, lines).await?;
    sqlx::raw_sql("COMMIT").execute(&mut *connection).await?;
    Ok(())
}

fn encode(lines: &[Line]) -> Vec<u8> {
    const POSTGRES_EPOCH_MICROS: i64 = 946_684_800_000_000;
    let mut data = Vec::with_capacity(lines.len() * 512);
    data.extend_from_slice(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0");
    let field = |data: &mut Vec<u8>, bytes: &[u8]| {
        data.extend_from_slice(&(bytes.len() as i32).to_be_bytes());
        data.extend_from_slice(bytes);
    };
    for line in lines {
        data.extend_from_slice(&9_i16.to_be_bytes());
        field(&mut data, line.id.as_bytes());
        field(&mut data, &0_i64.to_be_bytes());
        field(
            &mut data,
            &(line.micros - POSTGRES_EPOCH_MICROS).to_be_bytes(),
        );
        field(&mut data, line.source.as_bytes());
        field(&mut data, line.event_type.as_bytes());
        for id in [line.user_id, line.company_id, Some(line.entity_id)] {
            match id {
                Some(id) => field(&mut data, id.as_bytes()),
                None => data.extend_from_slice(&(-1_i32).to_be_bytes()),
            }
        }
        data.extend_from_slice(&(line.payload.len() as i32 + 1).to_be_bytes());
        data.push(1);
        data.extend_from_slice(line.payload.as_bytes());
    }
    data.extend_from_slice(&(-1_i16).to_be_bytes());
    data
}

async fn add_companies(connection: &mut PgConnection, lines: &[Line]) -> Result<()> {
    let active: BTreeSet<(Uuid, NaiveDate, Uuid)> = lines
        .iter()
        .filter(|line| line.is_active)
        .filter_map(|line| Some((line.company_id?, line.day, line.user_id?)))
        .collect();
    let new = sqlx::query(
        "WITH new AS (
           INSERT INTO company_active_learners (company_id, summary_date, user_id)
           SELECT * FROM unnest($1::uuid[], $2::date[], $3::uuid[])
           ON CONFLICT DO NOTHING RETURNING company_id, summary_date)
         SELECT company_id, summary_date, count(*)::int FROM new GROUP BY 1, 2",
    )
    .bind(active.iter().map(|a| a.0).collect::<Vec<_>>())
    .bind(active.iter().map(|a| a.1).collect::<Vec<_>>())
    .bind(active.iter().map(|a| a.2).collect::<Vec<_>>())
    .fetch_all(&mut *connection)
    .await?;
    let mut rows: BTreeMap<(Uuid, NaiveDate), (i32, i32)> = BTreeMap::new();
    for row in new {
        rows.entry((row.try_get(0)?, row.try_get(1)?))
            .or_default()
            .0 += row.try_get::<i32, _>(2)?;
    }
    for line in lines.iter().filter(|line| line.certificates > 0) {
        if let Some(company) = line.company_id {
            rows.entry((company, line.day)).or_default().1 += line.certificates;
        }
    }
    sqlx::query(
        "INSERT INTO company_learning_summary AS s
           (company_id, summary_date, active_learners_count, total_certificates_earned_on_day)
         SELECT * FROM unnest($1::uuid[], $2::date[], $3::int[], $4::int[])
         ON CONFLICT (company_id, summary_date) DO UPDATE SET
           active_learners_count = s.active_learners_count + excluded.active_learners_count,
           total_certificates_earned_on_day =
             s.total_certificates_earned_on_day + excluded.total_certificates_earned_on_day",
    )
    .bind(rows.keys().map(|k| k.0).collect::<Vec<_>>())
    .bind(rows.keys().map(|k| k.1).collect::<Vec<_>>())
    .bind(rows.values().map(|v| v.0).collect::<Vec<_>>())
    .bind(rows.values().map(|v| v.1).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

async fn add_courses(connection: &mut PgConnection, lines: &[Line]) -> Result<()> {
    let mut rows: BTreeMap<(Uuid, NaiveDate), (i32, i32, i64)> = BTreeMap::new();
    for line in lines {
        if let Some(course) = line.course_id {
            let row = rows.entry((course, line.day)).or_default();
            *row = (
                row.0 + line.enrolled,
                row.1 + line.completed,
                row.2 + line.seconds,
            );
        }
    }
    sqlx::query(
        "INSERT INTO course_engagement_summary AS s
           (course_id, summary_date, total_enrollments_on_day, total_completions_on_day,
            total_learning_time_seconds_on_day)
         SELECT * FROM unnest($1::uuid[], $2::date[], $3::int[], $4::int[], $5::bigint[])
         ON CONFLICT (course_id, summary_date) DO UPDATE SET
           total_enrollments_on_day = s.total_enrollments_on_day + excluded.total_enrollments_on_day,
           total_completions_on_day = s.total_completions_on_day + excluded.total_completions_on_day,
           total_learning_time_seconds_on_day =
             s.total_learning_time_seconds_on_day + excluded.total_learning_time_seconds_on_day",
    )
    .bind(rows.keys().map(|k| k.0).collect::<Vec<_>>())
    .bind(rows.keys().map(|k| k.1).collect::<Vec<_>>())
    .bind(rows.values().map(|v| v.0).collect::<Vec<_>>())
    .bind(rows.values().map(|v| v.1).collect::<Vec<_>>())
    .bind(rows.values().map(|v| v.2).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}
