//! `fleet migrate` against a real server.
#![allow(clippy::unwrap_used)]

mod support;

use support::Fleet;
use testkit::Postgres;

#[tokio::test]
async fn a_database_is_migrated_once_and_each_step_is_a_line() {
    let postgres = Postgres::start().await.unwrap();
    let fleet = Fleet::new(&[
        ("environment", "test"),
        ("database.admin_url", &postgres.url("postgres")),
        ("database.analytics.password", "hunter2"),
    ]);
    let said = fleet.run(&["migrate", "--service", "analytics"]).expect(0);
    assert!(
        said.out.contains("learnexpert_analytics_test: created\n"),
        "{}",
        said.out
    );
    assert!(
        said.out.contains("learnexpert_analytics_test: applied 1 "),
        "{}",
        said.out
    );
    assert!(
        said.out.contains("role analytics_service: password set\n"),
        "{}",
        said.out
    );
    assert!(!said.out.contains("learnexpert_iam_test"), "{}", said.out);

    let said = fleet.run(&["migrate", "--service", "analytics"]).expect(0);
    assert!(
        said.out
            .contains("learnexpert_analytics_test: already there\n"),
        "{}",
        said.out
    );
    assert!(!said.out.contains("applied"), "{}", said.out);
}

#[test]
fn a_service_that_does_not_exist_is_refused_with_those_that_do() {
    let said = Fleet::new(&[])
        .run(&["migrate", "--service", "crm"])
        .expect(2);
    assert!(
        said.err
            .contains("there is no service \"crm\"; use one of iam, "),
        "{}",
        said.err
    );
}

#[test]
fn a_server_that_is_down_is_named() {
    let fleet = Fleet::new(&[("database.admin_url", "postgres://postgres@127.0.0.1:1")]);
    let said = fleet.run(&["migrate", "--service", "analytics"]).expect(1);
    assert!(
        said.err.contains("127.0.0.1") && said.err.contains("refused"),
        "{}",
        said.err
    );
}
