//! What one event adds. Pure: the same event always gives the same plan, which is what makes
//! rebuilding a summary from the log possible.

use chrono::NaiveDate;
use engine::Reject;
use events::{Event, Payload};
use serde::Deserialize;
use uuid::Uuid;

/// One event's log row and its share of the summaries.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The event's UTC day.
    pub day: NaiveDate,
    /// Who did it.
    pub user_id: Option<Uuid>,
    /// For which company.
    pub company_id: Option<Uuid>,
    /// The aggregate that it is about.
    pub entity_id: Option<Uuid>,
    /// The event as plain JSON, by its writer's schema.
    pub payload: Option<String>,
    /// What it adds to its course's day.
    pub course: Option<CourseShare>,
    /// What it adds to its company's day.
    pub company: Option<CompanyShare>,
}

/// What an event adds to `course_engagement_summary`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CourseShare {
    /// The course.
    pub course_id: Uuid,
    /// Enrolments.
    pub enrollments: i32,
    /// Completions.
    pub completions: i32,
    /// Seconds of learning.
    pub learning_seconds: i64,
}

/// What an event adds to `company_learning_summary`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompanyShare {
    /// The company.
    pub company_id: Uuid,
    /// This person was active (LESSON_STARTED, LESSON_COMPLETED, QUIZ_ATTEMPTED, COURSE_COMPLETED).
    pub active_learner: Option<Uuid>,
    /// Certificates.
    pub certificates: i32,
}

/// The plan of an event.
///
/// # Errors
/// [`Reject`] for an amount that cannot be: it would make a sum wrong for ever.
pub fn plan(event: &Event) -> Result<Plan, Reject> {
    let subject = Uuid::try_parse(&event.envelope.subject).ok();
    let (user_id, company_id) = match &event.payload {
        Some(payload) => (payload.user_id(), payload.company_id()),
        None => ids_of_unknown(event.json.as_deref()),
    };
    let (course, company) = match &event.payload {
        Some(payload) => (course_share(payload)?, company_share(payload)),
        None => (None, None),
    };
    Ok(Plan {
        day: event.envelope.time.date_naive(),
        user_id,
        company_id,
        entity_id: subject,
        payload: event.json.clone(),
        course,
        company,
    })
}

fn course_share(payload: &Payload) -> Result<Option<CourseShare>, Reject> {
    let learned = |course_id, seconds| CourseShare {
        course_id,
        learning_seconds: seconds,
        ..CourseShare::default()
    };
    let share = match payload {
        Payload::CourseEnrolled(e) => CourseShare {
            course_id: e.course_id,
            enrollments: 1,
            ..CourseShare::default()
        },
        Payload::LessonStarted(e) => learned(e.course_id, e.learning_seconds),
        Payload::LessonCompleted(e) => learned(e.course_id, e.learning_seconds),
        Payload::QuizAttempted(e) => learned(e.course_id, e.learning_seconds),
        Payload::CourseCompleted(e) => CourseShare {
            completions: 1,
            ..learned(e.course_id, e.learning_seconds)
        },
        _ => return Ok(None),
    };
    if share.learning_seconds < 0 {
        let seconds = share.learning_seconds;
        return Err(Reject(format!(
            "learning_seconds is {seconds}; it must be 0 or more"
        )));
    }
    Ok(Some(share))
}

fn company_share(payload: &Payload) -> Option<CompanyShare> {
    let (active_learner, certificates) = match payload {
        Payload::LessonStarted(e) => (Some(e.user_id), 0),
        Payload::LessonCompleted(e) => (Some(e.user_id), 0),
        Payload::QuizAttempted(e) => (Some(e.user_id), 0),
        Payload::CourseCompleted(e) => (Some(e.user_id), 0),
        Payload::CertificateIssued(_) => (None, 1),
        _ => return None,
    };
    Some(CompanyShare {
        company_id: payload.company_id()?,
        active_learner,
        certificates,
    })
}

/// An event of a type that this build does not know may still name a user and a company.
fn ids_of_unknown(json: Option<&str>) -> (Option<Uuid>, Option<Uuid>) {
    #[derive(Default, Deserialize)]
    struct Ids {
        #[serde(default)]
        user_id: Option<serde_json::Value>,
        #[serde(default)]
        company_id: Option<serde_json::Value>,
    }
    let ids: Ids = json
        .and_then(|json| serde_json::from_str(json).ok())
        .unwrap_or_default();
    let uuid = |value: Option<serde_json::Value>| Uuid::try_parse(value?.as_str()?).ok();
    (uuid(ids.user_id), uuid(ids.company_id))
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
