//! The daily summaries: a batch is added up in memory, then written with one statement per table.
//!
//! Invariant: keys are sorted, so that two lanes cannot deadlock, and the rows that everybody
//! touches come last, so that they are locked briefly.

use crate::plan::Plan;
use chrono::NaiveDate;
use engine::Tx;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// What a batch adds to the summaries.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Totals {
    courses: BTreeMap<(Uuid, NaiveDate), CourseDay>,
    active_learners: BTreeSet<(Uuid, NaiveDate, Uuid)>,
    certificates: BTreeMap<(Uuid, NaiveDate), i32>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct CourseDay {
    enrollments: i32,
    completions: i32,
    learning_seconds: i64,
}

impl Totals {
    /// Adds plans up.
    pub fn of<'p>(plans: impl Iterator<Item = &'p Plan>) -> Self {
        let mut totals = Self::default();
        for plan in plans {
            if let Some(share) = plan.course {
                let day = totals
                    .courses
                    .entry((share.course_id, plan.day))
                    .or_default();
                day.enrollments += share.enrollments;
                day.completions += share.completions;
                day.learning_seconds += share.learning_seconds;
            }
            if let Some(share) = plan.company {
                if let Some(learner) = share.active_learner {
                    totals
                        .active_learners
                        .insert((share.company_id, plan.day, learner));
                }
                if share.certificates > 0 {
                    *totals
                        .certificates
                        .entry((share.company_id, plan.day))
                        .or_default() += share.certificates;
                }
            }
        }
        totals
    }
}

const NEW_LEARNERS: &str = "
    WITH new AS (
      INSERT INTO company_active_learners (company_id, summary_date, user_id)
      SELECT * FROM unnest($1::uuid[], $2::date[], $3::uuid[])
      ON CONFLICT DO NOTHING
      RETURNING company_id, summary_date)
    SELECT company_id, summary_date, count(*)::int FROM new GROUP BY 1, 2";

const ADD_COMPANIES: &str = "
    INSERT INTO company_learning_summary AS s
      (company_id, summary_date, active_learners_count, total_certificates_earned_on_day)
    SELECT * FROM unnest($1::uuid[], $2::date[], $3::int[], $4::int[])
    ON CONFLICT (company_id, summary_date) DO UPDATE SET
      active_learners_count = s.active_learners_count + excluded.active_learners_count,
      total_certificates_earned_on_day =
        s.total_certificates_earned_on_day + excluded.total_certificates_earned_on_day";

const ADD_COURSES: &str = "
    INSERT INTO course_engagement_summary AS s
      (course_id, summary_date, total_enrollments_on_day, total_completions_on_day,
       total_learning_time_seconds_on_day)
    SELECT * FROM unnest($1::uuid[], $2::date[], $3::int[], $4::int[], $5::bigint[])
    ON CONFLICT (course_id, summary_date) DO UPDATE SET
      total_enrollments_on_day = s.total_enrollments_on_day + excluded.total_enrollments_on_day,
      total_completions_on_day = s.total_completions_on_day + excluded.total_completions_on_day,
      total_learning_time_seconds_on_day =
        s.total_learning_time_seconds_on_day + excluded.total_learning_time_seconds_on_day";

/// Adds totals to the summary tables.
///
/// # Errors
/// Any database error.
pub async fn add(tx: &mut Tx<'_>, totals: Totals) -> Result<(), sqlx::Error> {
    let mut companies: BTreeMap<(Uuid, NaiveDate), (i32, i32)> = BTreeMap::new();
    for (company, day, learners) in new_learners(tx, &totals.active_learners).await? {
        companies.entry((company, day)).or_default().0 += learners;
    }
    for (key, certificates) in &totals.certificates {
        companies.entry(*key).or_default().1 += certificates;
    }
    add_companies(tx, &companies).await?;
    add_courses(tx, &totals.courses).await
}

async fn new_learners(
    tx: &mut Tx<'_>,
    active: &BTreeSet<(Uuid, NaiveDate, Uuid)>,
) -> Result<Vec<(Uuid, NaiveDate, i32)>, sqlx::Error> {
    if active.is_empty() {
        return Ok(Vec::new());
    }
    let companies: Vec<Uuid> = active.iter().map(|(company, _, _)| *company).collect();
    let days: Vec<NaiveDate> = active.iter().map(|(_, day, _)| *day).collect();
    let users: Vec<Uuid> = active.iter().map(|(_, _, user)| *user).collect();
    tx.fetch_all(
        sqlx::query_as(NEW_LEARNERS)
            .bind(companies)
            .bind(days)
            .bind(users),
    )
    .await
}

async fn add_companies(
    tx: &mut Tx<'_>,
    companies: &BTreeMap<(Uuid, NaiveDate), (i32, i32)>,
) -> Result<(), sqlx::Error> {
    if companies.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = companies.keys().map(|(id, _)| *id).collect();
    let days: Vec<NaiveDate> = companies.keys().map(|(_, day)| *day).collect();
    let learners: Vec<i32> = companies.values().map(|(learners, _)| *learners).collect();
    let certificates: Vec<i32> = companies
        .values()
        .map(|(_, certificates)| *certificates)
        .collect();
    let query = sqlx::query(ADD_COMPANIES)
        .bind(ids)
        .bind(days)
        .bind(learners)
        .bind(certificates);
    tx.execute(query).await.map(|_| ())
}

async fn add_courses(
    tx: &mut Tx<'_>,
    courses: &BTreeMap<(Uuid, NaiveDate), CourseDay>,
) -> Result<(), sqlx::Error> {
    if courses.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = courses.keys().map(|(id, _)| *id).collect();
    let days: Vec<NaiveDate> = courses.keys().map(|(_, day)| *day).collect();
    let enrollments: Vec<i32> = courses.values().map(|day| day.enrollments).collect();
    let completions: Vec<i32> = courses.values().map(|day| day.completions).collect();
    let seconds: Vec<i64> = courses.values().map(|day| day.learning_seconds).collect();
    let query = sqlx::query(ADD_COURSES)
        .bind(ids)
        .bind(days)
        .bind(enrollments)
        .bind(completions)
        .bind(seconds);
    tx.execute(query).await.map(|_| ())
}
