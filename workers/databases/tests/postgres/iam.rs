//! IAM: sign-up, the event that it causes, and who may see whom.

use databases::{Role, Service};
use events::{EventType, plain_json};
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use crate::fixture::{Fixture, assert_forbidden, execute, refusal, texts, value};

const ANNA: &str = "019cad9c-9140-7210-b10c-0000000000a1";
const BERT: &str = "019cad9c-9140-7210-b10c-0000000000b2";
const TABLES: [&str; 4] = [
    "user_profiles",
    "user_settings",
    "user_subscriptions",
    "user_sessions",
];

async fn iam() -> (Fixture, PgConnection) {
    let fixture = Fixture::migrated(&[Service::Iam]).await;
    let owner = fixture.owner(Service::Iam).await;
    (fixture, owner)
}

/// Signs a user up as Supabase Auth does: with rights on schema auth and none on schema public.
async fn sign_up(owner: &mut PgConnection, id: &str, name: &str, more: &str) {
    let statement = format!(
        "DO $$ BEGIN CREATE ROLE auth_server;
               EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
         GRANT USAGE ON SCHEMA auth TO auth_server;
         GRANT INSERT ON auth.users TO auth_server;
         SET ROLE auth_server;
         INSERT INTO auth.users (id, email, phone, raw_user_meta_data)
         VALUES ('{id}', '{name}@example.com', '4915100000000',
                 '{{\"username\": \"{name}\", \"full_name\": \"Some {name}\"{more}}}');
         RESET ROLE"
    );
    execute(owner, statement).await;
}

async fn two_users(owner: &mut PgConnection) {
    sign_up(owner, ANNA, "anna", "").await;
    sign_up(owner, BERT, "bert", "").await;
    for user in [ANNA, BERT] {
        execute(
            owner,
            format!(
                "INSERT INTO user_subscriptions (user_id, plan_id, status) VALUES ('{user}', 'basic', 'active');
                 INSERT INTO user_sessions (user_id) VALUES ('{user}')"
            ),
        )
        .await;
    }
}

/// The session continues as a request with that user's token.
async fn act_as(connection: &mut PgConnection, user: &str) {
    execute(
        connection,
        format!("SET ROLE authenticated; SET request.jwt.claims = '{{\"sub\": \"{user}\"}}'"),
    )
    .await;
}

async fn make_admin(owner: &mut PgConnection, user: &str) {
    execute(
        owner,
        format!("INSERT INTO user_roles SELECT '{user}', id FROM roles WHERE name = 'admin'"),
    )
    .await;
}

#[tokio::test]
async fn a_sign_up_leaves_profile_settings_role_and_one_event() {
    let (_fixture, mut owner) = iam().await;

    sign_up(
        &mut owner,
        ANNA,
        "anna",
        ", \"language\": \"pt-BR\", \"time_zone\": \"America/Sao_Paulo\"",
    )
    .await;

    let profile = texts(
        &mut owner,
        "SELECT concat_ws(' ', username, full_name, email, phone, role) FROM user_profiles",
    );
    assert_eq!(
        profile.await,
        ["anna Some anna anna@example.com +4915100000000 user"]
    );
    let roles = texts(
        &mut owner,
        "SELECT r.name FROM user_roles ur JOIN roles r ON r.id = ur.role_id",
    );
    assert_eq!(roles.await, ["user"]);
    let event = "SELECT concat_ws(' ', type, key, subject, aggregate_version, published_at) FROM outbox_events";
    assert_eq!(
        texts(&mut owner, event).await,
        [format!("USER_REGISTERED {ANNA} {ANNA} 1")]
    );
    let id: Uuid = value(&mut owner, "SELECT id FROM outbox_events").await;
    assert_eq!(id.get_version_num(), 7);
}

#[tokio::test]
async fn the_event_of_a_sign_up_fits_its_contract() {
    let (_fixture, mut owner) = iam().await;
    sign_up(&mut owner, ANNA, "anna", ", \"language\": \"pt-BR\"").await;
    execute(
        &mut owner,
        format!("INSERT INTO auth.users (id, email) VALUES ('{BERT}', 'bert@example.com')"),
    )
    .await;

    let payloads: Vec<serde_json::Value> =
        sqlx::query_scalar("SELECT payload FROM outbox_events ORDER BY position")
            .fetch_all(&mut owner)
            .await
            .unwrap();

    assert_eq!(payloads.len(), 2);
    for payload in &payloads {
        let event_type = EventType::from_name("USER_REGISTERED").unwrap();
        let event = plain_json::read(event_type, payload).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(&plain_json::write(&event).unwrap(), payload);
    }
    assert_eq!(payloads[0]["personal"]["phone"], "+4915100000000");
    assert_eq!(payloads[0]["language"], "pt-BR");
    assert_eq!(payloads[1]["personal"]["phone"], serde_json::Value::Null);
}

#[tokio::test]
async fn a_sign_up_that_fails_leaves_no_event() {
    let (_fixture, mut owner) = iam().await;
    sign_up(&mut owner, ANNA, "anna", "").await;

    let taken = format!(
        "INSERT INTO auth.users (id, email, raw_user_meta_data)
         VALUES ('{BERT}', 'bert@example.com', '{{\"username\": \"anna\"}}')"
    );
    assert_eq!(refusal(&mut owner, taken).await, "23505");
    assert_eq!(
        value::<i64>(&mut owner, "SELECT count(*) FROM outbox_events").await,
        1
    );
}

#[tokio::test]
async fn users_see_and_change_their_own_rows_only() {
    let (_fixture, mut session) = iam().await;
    two_users(&mut session).await;
    act_as(&mut session, ANNA).await;

    for table in TABLES {
        let column = if table.starts_with("user_s") && table != "user_settings" {
            "user_id"
        } else {
            "id"
        };
        let seen = texts(&mut session, format!("SELECT {column}::text FROM {table}")).await;
        assert_eq!(seen, [ANNA], "{table}");
    }
    assert_eq!(
        value::<i64>(&mut session, "SELECT count(*) FROM user_roles").await,
        1
    );
    let changed =
        |sql: &str| format!("WITH changed AS ({sql} RETURNING 1) SELECT count(*) FROM changed");
    for (statement, rows) in [
        (
            format!("UPDATE user_profiles SET bio = 'x' WHERE id = '{ANNA}'"),
            1,
        ),
        (
            format!("UPDATE user_profiles SET bio = 'x' WHERE id = '{BERT}'"),
            0,
        ),
        (
            format!("UPDATE user_settings SET theme = 'dark' WHERE id = '{BERT}'"),
            0,
        ),
        (
            "UPDATE user_subscriptions SET status = 'free for ever'".to_owned(),
            0,
        ),
        ("DELETE FROM user_profiles".to_owned(), 0),
        (
            format!("DELETE FROM user_sessions WHERE user_id = '{BERT}'"),
            0,
        ),
        ("DELETE FROM user_sessions".to_owned(), 1),
        ("DELETE FROM roles".to_owned(), 0),
    ] {
        assert_eq!(
            value::<i64>(&mut session, changed(&statement)).await,
            rows,
            "{statement}"
        );
    }
    assert_forbidden(
        &mut session,
        &[
            &format!("INSERT INTO user_subscriptions (user_id, plan_id, status) VALUES ('{ANNA}', 'gold', 'active')"),
            &format!("INSERT INTO user_sessions (user_id) VALUES ('{BERT}')"),
            &format!("INSERT INTO user_roles SELECT '{ANNA}', id FROM roles WHERE name = 'admin'"),
            "INSERT INTO roles (name) VALUES ('god')",
        ],
    )
    .await;
}

#[tokio::test]
async fn users_cannot_promote_or_verify_themselves() {
    let (_fixture, mut session) = iam().await;
    two_users(&mut session).await;
    act_as(&mut session, ANNA).await;

    assert_forbidden(
        &mut session,
        &[
            "UPDATE user_profiles SET role = 'admin'",
            "UPDATE user_profiles SET is_verified = true",
            "UPDATE user_profiles SET email = 'other@example.com'",
            &format!("UPDATE user_profiles SET id = '{BERT}'"),
        ],
    )
    .await;
}

#[tokio::test]
async fn admins_see_and_change_all_rows() {
    let (_fixture, mut session) = iam().await;
    two_users(&mut session).await;
    make_admin(&mut session, ANNA).await;
    act_as(&mut session, ANNA).await;

    for table in TABLES {
        assert_eq!(
            value::<i64>(&mut session, format!("SELECT count(*) FROM {table}")).await,
            2,
            "{table}"
        );
    }
    // The policy on user_roles asks user_roles, without asking itself again, whatever the plan.
    execute(
        &mut session,
        "SET enable_indexscan = off; SET enable_bitmapscan = off",
    )
    .await;
    assert_eq!(
        value::<i64>(&mut session, "SELECT count(*) FROM user_roles").await,
        3
    );
    execute(
        &mut session,
        format!("UPDATE user_profiles SET role = 'creator' WHERE id = '{BERT}'"),
    )
    .await;
    execute(
        &mut session,
        format!("INSERT INTO user_roles SELECT '{BERT}', id FROM roles WHERE name = 'creator'"),
    )
    .await;
}

#[tokio::test]
async fn the_public_sees_nothing() {
    let (_fixture, mut session) = iam().await;
    two_users(&mut session).await;
    execute(&mut session, "SET ROLE anon").await;

    assert_forbidden(
        &mut session,
        &[
            "SELECT FROM user_profiles",
            "SELECT FROM user_settings",
            "SELECT FROM user_subscriptions",
            "SELECT FROM user_sessions",
            "SELECT FROM user_roles",
            "SELECT FROM roles",
            "SELECT FROM outbox_events",
            "SELECT public.is_admin()",
        ],
    )
    .await;
}

#[tokio::test]
async fn the_outbox_stays_closed_even_after_a_blanket_grant() {
    let (_fixture, mut session) = iam().await;
    two_users(&mut session).await;
    make_admin(&mut session, ANNA).await;
    act_as(&mut session, ANNA).await;
    assert_forbidden(
        &mut session,
        &[
            "SELECT FROM outbox_events",
            "SELECT FROM engine.inbox",
            "SELECT FROM _sqlx_migrations",
        ],
    )
    .await;

    execute(
        &mut session,
        "RESET ROLE; GRANT ALL ON ALL TABLES IN SCHEMA public TO anon, authenticated",
    )
    .await;

    for role in ["anon", "authenticated"] {
        execute(&mut session, format!("SET ROLE {role}")).await;
        assert_eq!(
            value::<i64>(&mut session, "SELECT count(*) FROM outbox_events").await,
            0,
            "{role}"
        );
    }
}

#[tokio::test]
async fn iam_s_worker_keeps_subscriptions_in_step_and_reads_the_rest() {
    let (fixture, mut owner) = iam().await;
    two_users(&mut owner).await;
    let mut worker = fixture.role(Service::Iam.role(), Service::Iam).await;

    execute(
        &mut worker,
        "UPDATE user_subscriptions SET status = 'past_due'",
    )
    .await;
    let late = "SELECT count(*) FROM user_subscriptions WHERE status = 'past_due'";
    assert_eq!(value::<i64>(&mut worker, late).await, 2);
    assert_eq!(
        value::<i64>(&mut worker, "SELECT count(*) FROM user_profiles").await,
        2
    );
    execute(
        &mut worker,
        "INSERT INTO outbox_events (type, key, subject, payload) VALUES ('X', 'k', 's', '{}') ON CONFLICT (id) DO NOTHING",
    )
    .await;
    assert_forbidden(
        &mut worker,
        &[
            "DELETE FROM user_profiles",
            "SELECT FROM user_sessions",
            "INSERT INTO user_roles SELECT FROM roles",
        ],
    )
    .await;

    let mut relay = fixture.role(Role::Relay, Service::Iam).await;
    assert_eq!(
        value::<i64>(&mut relay, "SELECT count(*) FROM outbox_events").await,
        3
    );
}

#[tokio::test]
async fn deleting_an_account_removes_its_rows() {
    let (_fixture, mut owner) = iam().await;
    two_users(&mut owner).await;

    execute(
        &mut owner,
        format!("DELETE FROM auth.users WHERE id = '{ANNA}'"),
    )
    .await;

    for table in TABLES {
        assert_eq!(
            value::<i64>(&mut owner, format!("SELECT count(*) FROM {table}")).await,
            1,
            "{table}"
        );
    }
}
