//! Tests of what the settings amount to.

use super::tests::{load, sound};
use databases::{Role, Service};

#[test]
fn each_service_has_its_own_database_and_role() {
    let config = sound(
        "[database.analytics]\npassword = 'p'\n\
         [database.iam]\nurl = 'postgres://postgres.x:q@supabase:6543/postgres'\n\
         [database.search]\nuser = 'finder'\npassword = 'p'\n\
         [database.relay]\npassword = 'p'\n",
        &[],
    );
    let analytics = config.database(Service::Analytics).unwrap();
    assert_eq!(analytics.get_host(), "db");
    assert_eq!(
        analytics.get_database(),
        Some("learnexpert_analytics_staging")
    );
    assert_eq!(analytics.get_username(), "analytics_service");
    let iam = config.database(Service::Iam).unwrap();
    assert_eq!((iam.get_host(), iam.get_port()), ("supabase", 6543));
    assert_eq!(iam.get_database(), Some("postgres"));
    assert_eq!(iam.get_username(), "postgres.x");
    assert_eq!(
        config.database(Service::Search).unwrap().get_username(),
        "finder"
    );

    let roles: Vec<Role> = config.role_passwords().into_keys().collect();
    assert_eq!(roles, [Service::Analytics.role(), Role::Relay]);
    let names = config.other_database_names();
    assert_eq!(
        names.into_iter().collect::<Vec<_>>(),
        [(Service::Iam, "postgres".to_owned())]
    );
}

#[test]
fn an_address_for_all_services_names_neither_database_nor_user() {
    for (url, part) in [
        ("postgres://db/shop", "names the database shop"),
        ("postgres://db?dbname=shop", "names the database shop"),
        ("postgres://root@db", "names the user root"),
        ("postgres://db?user=root", "names the user root"),
        ("mysql://db", "must begin with postgres://"),
        ("postgres://db:port", "is no address"),
    ] {
        let config = load("", &[("FLEET__DATABASE__URL", url)]).config;
        let line = config.database(Service::Analytics).unwrap_err().to_string();
        assert!(
            line.contains("database.url (FLEET__DATABASE__URL)"),
            "{line}"
        );
        assert!(line.contains(part), "{url}: {line}");
    }
}

#[test]
fn an_unusable_registry_address_is_named() {
    let config = load("[registry]\nurl = 'registry:8081'", &[]).config;
    let line = config.registry().unwrap_err().to_string();
    assert!(
        line.contains("registry.url (FLEET__REGISTRY__URL)"),
        "{line}"
    );
}

#[test]
fn consumers_of_the_new_protocol_have_no_fixed_identity() {
    let config = load("[kafka]\ngroup_protocol = 'consumer'", &[]).config;
    assert_eq!(config.kafka.group_instance_id, None);
    let config = load("[kafka]\ngroup_instance_id = 'none'", &[]).config;
    assert_eq!(config.kafka.group_instance_id, None);
    assert!(
        load("", &[]).config.kafka.group_instance_id.is_some(),
        "the machine's name"
    );
}
