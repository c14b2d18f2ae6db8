//! What happens: a day of sign-ups, enrolments, lessons and certificates. Pure and seeded: the
//! same seed and day tell the same story (but for the ids, which carry the time of telling).

use anyhow::Result;
use chrono::{DateTime, TimeDelta, Utc};
use events::{EventType, Payload, Timestamp};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use uuid::Uuid;

/// One event of the story.
#[derive(Clone, Debug)]
pub struct Told {
    /// Its id.
    pub id: Uuid,
    /// What happened.
    pub payload: Payload,
    /// When.
    pub time: DateTime<Utc>,
    /// Which service says so.
    pub source: &'static str,
    /// The aggregate's version, for events that carry state.
    pub version: Option<i64>,
}

/// How large the story is.
#[derive(Clone, Copy, Debug)]
pub struct Cast {
    /// People who sign up and learn.
    pub learners: usize,
    /// Courses on offer.
    pub courses: usize,
    /// Companies; some learners belong to none.
    pub companies: usize,
}

struct Course {
    id: Uuid,
    version: Uuid,
    title: &'static str,
    lessons: Vec<Uuid>,
}

const TITLES: [&str; 8] = [
    "Rust for Services",
    "Reading Balance Sheets",
    "Negotiation Basics",
    "Streams with Kafka",
    "Writing for the Web",
    "PostgreSQL in Depth",
    "Safety at Work",
    "Portuguese for Beginners",
];

struct Teller {
    random: StdRng,
    told: Vec<Told>,
    from: DateTime<Utc>,
}

/// Tells the day that ends at `until`, in the order of its times.
///
/// # Errors
/// An example in `avro/examples/` does not fit its schema.
pub fn tell(seed: u64, cast: Cast, until: DateTime<Utc>) -> Result<Vec<Told>> {
    let mut teller = Teller {
        random: StdRng::seed_from_u64(seed),
        told: Vec::new(),
        from: until - TimeDelta::hours(24),
    };
    let courses = teller.publish_courses(cast.courses)?;
    let companies: Vec<Uuid> = (0..cast.companies).map(|_| teller.any_id()).collect();
    for _ in 0..cast.learners {
        teller.one_learner(&courses, &companies)?;
    }
    teller.told.sort_by_key(|told| told.time);
    for told in &mut teller.told {
        told.id = Uuid::now_v7();
    }
    Ok(teller.told)
}

impl Teller {
    fn any_id(&mut self) -> Uuid {
        uuid::Builder::from_random_bytes(self.random.random()).into_uuid()
    }

    fn later(&mut self, time: DateTime<Utc>, seconds: std::ops::Range<i64>) -> DateTime<Utc> {
        time + TimeDelta::seconds(self.random.random_range(seconds))
    }

    fn say(&mut self, time: DateTime<Utc>, source: &'static str, payload: impl Into<Payload>) {
        let payload = payload.into();
        let version = payload.event_type().contract().carries_state.then_some(1);
        self.told.push(Told {
            id: Uuid::nil(),
            payload,
            time,
            source,
            version,
        });
    }

    fn publish_courses(&mut self, count: usize) -> Result<Vec<Course>> {
        let mut courses = Vec::with_capacity(count);
        for index in 0..count {
            let (id, version) = (self.any_id(), self.any_id());
            let lessons = (0..self.random.random_range(3..7))
                .map(|_| self.any_id())
                .collect();
            let time = self.later(self.from, 0..600);
            if let Payload::CoursePublished(mut published) = example(EventType::CoursePublished)? {
                published.course_id = id;
                self.say(time, "course-service", *published);
            }
            courses.push(Course {
                id,
                version,
                title: TITLES[index % TITLES.len()],
                lessons,
            });
        }
        Ok(courses)
    }

    fn one_learner(&mut self, courses: &[Course], companies: &[Uuid]) -> Result<()> {
        let user = self.any_id();
        let company = match self.random.random_bool(0.7) {
            true => companies.choose(&mut self.random).copied(),
            false => None,
        };
        let mut time = self.later(self.from, 600..70_000);
        if let Payload::UserRegistered(mut registered) = example(EventType::UserRegistered)? {
            registered.user_id = user;
            registered.company_id = company;
            registered.registered_at = Timestamp::from(time);
            self.say(time, "iam-service", *registered);
        }
        for _ in 0..self.random.random_range(1..=3) {
            let Some(course) = courses.choose(&mut self.random) else {
                break;
            };
            time = self.later(time, 30..600);
            time = self.one_course(user, company, course, time)?;
        }
        Ok(())
    }

    fn one_course(
        &mut self,
        user: Uuid,
        company: Option<Uuid>,
        course: &Course,
        mut time: DateTime<Utc>,
    ) -> Result<DateTime<Utc>> {
        const PROGRESS: &str = "progress-service";
        if let Payload::CourseEnrolled(mut enrolled) = example(EventType::CourseEnrolled)? {
            enrolled.user_id = user;
            enrolled.company_id = company;
            enrolled.course_id = course.id;
            enrolled.course_version_id = course.version;
            enrolled.course_title = course.title.to_owned();
            enrolled.enrolled_at = Timestamp::from(time);
            self.say(time, PROGRESS, *enrolled);
        }
        let finishes = self.random.random_bool(0.5);
        let lessons = if finishes {
            course.lessons.len()
        } else {
            self.random.random_range(0..course.lessons.len())
        };
        for lesson in &course.lessons[..lessons] {
            time = self.later(time, 10..120);
            if let Payload::LessonStarted(mut started) = example(EventType::LessonStarted)? {
                started.user_id = user;
                started.company_id = company;
                started.course_id = course.id;
                started.course_version_id = course.version;
                started.lesson_id = *lesson;
                started.learning_seconds = 0;
                self.say(time, PROGRESS, *started);
            }
            let seconds = self.random.random_range(60..900);
            time += TimeDelta::seconds(seconds);
            if let Payload::LessonCompleted(mut completed) = example(EventType::LessonCompleted)? {
                completed.user_id = user;
                completed.company_id = company;
                completed.course_id = course.id;
                completed.course_version_id = course.version;
                completed.lesson_id = *lesson;
                completed.learning_seconds = seconds;
                self.say(time, PROGRESS, *completed);
            }
        }
        if finishes {
            time = self.finish(user, company, course, time)?;
        }
        Ok(time)
    }

    fn finish(
        &mut self,
        user: Uuid,
        company: Option<Uuid>,
        course: &Course,
        mut time: DateTime<Utc>,
    ) -> Result<DateTime<Utc>> {
        const PROGRESS: &str = "progress-service";
        let (attempt, certificate) = (self.any_id(), self.any_id());
        time = self.later(time, 20..60);
        if let Payload::QuizAttempted(mut quiz) = example(EventType::QuizAttempted)? {
            quiz.user_id = user;
            quiz.company_id = company;
            quiz.course_id = course.id;
            quiz.course_version_id = course.version;
            quiz.quiz_attempt_id = attempt;
            quiz.learning_seconds = 45;
            self.say(time, PROGRESS, *quiz);
        }
        time = self.later(time, 1..5);
        if let Payload::CourseCompleted(mut completed) = example(EventType::CourseCompleted)? {
            completed.user_id = user;
            completed.company_id = company;
            completed.course_id = course.id;
            completed.course_version_id = course.version;
            completed.course_title = course.title.to_owned();
            completed.learning_seconds = 0;
            completed.certificate_id = Some(certificate);
            self.say(time, PROGRESS, *completed);
        }
        time = self.later(time, 1..5);
        if let Payload::CertificateIssued(mut issued) = example(EventType::CertificateIssued)? {
            issued.user_id = user;
            issued.company_id = company;
            issued.course_id = course.id;
            issued.course_version_id = course.version;
            issued.certificate_id = certificate;
            issued.course_title = course.title.to_owned();
            self.say(time, PROGRESS, *issued);
        }
        Ok(time)
    }
}

fn example(event_type: EventType) -> Result<Payload> {
    Ok(event_type.contract().example_payload()?)
}

/// One thing that is sent: an event, possibly for the second time.
#[derive(Clone, Debug)]
pub struct Sending {
    /// Index into the story.
    pub event: usize,
    /// Whether it was sent before.
    pub again: bool,
}

/// The order of sending: mostly as told, some a little late, some twice.
pub fn disorder(seed: u64, events: usize, late: f64, twice: f64) -> Vec<Sending> {
    let mut random = StdRng::seed_from_u64(seed ^ 0xd15_0bde);
    let mut keyed: Vec<(usize, usize, Sending)> = Vec::with_capacity(events);
    for event in 0..events {
        let delay = if random.random_bool(late) {
            random.random_range(1..200)
        } else {
            0
        };
        keyed.push((
            event + delay,
            0,
            Sending {
                event,
                again: false,
            },
        ));
        if random.random_bool(twice) {
            let after = event + delay + random.random_range(0..500);
            keyed.push((after, 1, Sending { event, again: true }));
        }
    }
    keyed.sort_by_key(|(at, repeat, sending)| (*at, *repeat, sending.event));
    keyed.into_iter().map(|(_, _, sending)| sending).collect()
}
