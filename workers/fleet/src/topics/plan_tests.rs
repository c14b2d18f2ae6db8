//! Tests of the comparison between catalogue and brokers.

use super::*;

fn wanted() -> Wanted {
    Wanted {
        name: "iam.users".to_owned(),
        file: "topics/iam.users.toml".to_owned(),
        partitions: 12,
        settings: BTreeMap::from([
            (RETENTION, "2592000000".to_owned()),
            (CLEANUP, "delete".to_owned()),
        ]),
    }
}

fn found(partitions: i32, settings: &[(&str, &str, bool)]) -> BTreeMap<String, Found> {
    let settings = settings
        .iter()
        .map(|(name, value, own)| {
            (
                (*name).to_owned(),
                FoundSetting {
                    value: (*value).to_owned(),
                    own: *own,
                },
            )
        })
        .collect();
    BTreeMap::from([(
        "iam.users".to_owned(),
        Found {
            partitions,
            settings,
        },
    )])
}

fn plan_of(found: &BTreeMap<String, Found>) -> TopicPlan {
    plan(vec![wanted()], found).remove(0)
}

const AS_WANTED: &[(&str, &str, bool)] = &[
    ("retention.ms", "2592000000", true),
    ("cleanup.policy", "delete", false),
];

#[test]
fn every_topic_and_every_dead_letter_topic_is_wanted_once() {
    let wanted = Wanted::all();
    assert_eq!(wanted.len(), TOPICS.len() + DEAD_LETTER.groups.len());
    let dead_letters = wanted
        .iter()
        .find(|topic| topic.name == "learnexpert.analytics.dlq")
        .unwrap();
    assert_eq!(dead_letters.partitions, DEAD_LETTER.partitions);
    assert_eq!(
        dead_letters.settings[RETENTION],
        DEAD_LETTER.retention.as_millis().to_string()
    );
    let names: std::collections::BTreeSet<&str> = wanted.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names.len(), wanted.len());
}

#[test]
fn a_topic_that_is_not_there_is_created() {
    let topic = plan_of(&BTreeMap::new());
    assert_eq!(topic.action, Action::Create);
    assert_eq!(
        topic.would(3),
        "iam.users: would be created: 12 partitions, 3 replicas, cleanup.policy delete, \
         retention.ms 2592000000 (30 days)"
    );
    assert_eq!(topic.refusal(), None);
}

#[test]
fn a_topic_as_it_should_be_is_left_alone() {
    let topic = plan_of(&found(12, AS_WANTED));
    assert_eq!(topic.action, Action::Keep);
    assert_eq!(topic.refusal(), None);
}

#[test]
fn a_setting_that_differs_is_changed_and_other_settings_of_the_topic_are_kept() {
    let topic = plan_of(&found(
        12,
        &[
            ("retention.ms", "604800000", false),
            ("cleanup.policy", "delete", false),
            ("min.insync.replicas", "2", true),
            ("segment.bytes", "1073741824", false),
        ],
    ));
    let Action::Alter { settings, .. } = &topic.action else {
        panic!("{topic:?}")
    };
    let expected = [
        ("cleanup.policy", "delete"),
        ("min.insync.replicas", "2"),
        ("retention.ms", "2592000000"),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(*settings, BTreeMap::from(expected));
    assert_eq!(
        topic.done(1),
        "iam.users: changed: retention.ms 604800000 (7 days) -> 2592000000 (30 days)"
    );
}

#[test]
fn a_list_in_another_order_is_no_difference() {
    assert!(is_same("compact,delete", "delete, compact"));
    assert!(!is_same("compact", "delete"));
}

#[test]
fn partitions_are_neither_added_nor_removed_and_settings_are_corrected_all_the_same() {
    for (number, why) in [(6, "break their order"), (24, "cannot remove")] {
        let topic = plan_of(&found(number, AS_WANTED));
        assert_eq!(topic.action, Action::Keep);
        let refusal = topic.refusal().unwrap();
        assert!(
            refusal.contains(&format!("has {number} partitions")),
            "{refusal}"
        );
        assert!(
            refusal.contains(why) && refusal.contains("topics/iam.users.toml"),
            "{refusal}"
        );
    }
    let topic = plan_of(&found(
        6,
        &[
            ("retention.ms", "-1", true),
            ("cleanup.policy", "delete", true),
        ],
    ));
    assert!(matches!(topic.action, Action::Alter { .. }));
    assert!(
        topic
            .would(1)
            .contains("-1 (unlimited) -> 2592000000 (30 days)")
    );
    assert!(topic.refusal().is_some());
}
