//! Whether the current schemas keep the rules and fit those that were released. No I/O.

use super::contracts::{Contract, Contracts};
use events::compatibility::{self, Version};

/// What the check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// One line for each thing to mend.
    pub violations: Vec<String>,
    /// Schemas that changed since their last release, or never had one.
    pub unreleased: Vec<String>,
    /// How many schemas were looked at.
    pub checked: usize,
}

/// Checks every schema against the house rules and all its released versions.
pub fn check(contracts: &Contracts) -> Report {
    let mut report = Report::default();
    for (short, contract) in &contracts.0 {
        report.checked += 1;
        report.violations.extend(violations(short, contract));
        if !contract.is_released() {
            report.unreleased.push(short.clone());
        }
    }
    report
}

/// What is wrong with one schema, one line each.
pub fn violations(short: &str, contract: &Contract) -> Vec<String> {
    let Some(current) = &contract.current else {
        let (version, _) = contract
            .released
            .last()
            .cloned()
            .unwrap_or((Version(0), String::new()));
        return vec![format!(
            "avro/{short}.avsc is gone, but {version} was released: records of it may still be \
             read; fix: restore the file"
        )];
    };
    let own = compatibility::house_rules(current);
    let compared = compatibility::check(current, &contract.released_texts());
    own.iter()
        .chain(&compared)
        .map(|violation| format!("avro/{short}.avsc: {violation}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contract(edit: impl FnOnce(&mut Contract)) -> Report {
        let mut contracts = Contracts::embedded();
        edit(contracts.0.get_mut("progress/CourseEnrolled").unwrap());
        check(&contracts)
    }

    #[test]
    fn the_schemas_of_this_build_keep_every_rule() {
        let report = contract(|_| ());
        assert_eq!(report.violations, Vec::<String>::new());
        assert_eq!(report.unreleased, Vec::<String>::new());
        assert_eq!(report.checked, events::EventType::ALL.len());
    }

    #[test]
    fn a_changed_type_is_one_line_for_each_version_that_it_breaks() {
        let report = contract(|contract| {
            let current = contract.current.take().unwrap();
            contract.current = Some(current.replace("timestamp-micros", "timestamp-millis"));
        });
        let compared: Vec<&String> = report
            .violations
            .iter()
            .filter(|line| line.contains("compared with"))
            .collect();
        assert_eq!(compared.len(), 2, "{:#?}", report.violations);
        assert!(
            compared[0].starts_with("avro/progress/CourseEnrolled.avsc: "),
            "{}",
            compared[0]
        );
        assert!(compared[0].contains("enrolled_at") && compared[0].contains("fix: "));
        assert_eq!(report.unreleased, ["progress/CourseEnrolled"]);
    }

    #[test]
    fn a_schema_that_was_released_and_is_gone_is_a_violation() {
        let report = contract(|contract| contract.current = None);
        assert_eq!(report.violations.len(), 1);
        assert!(
            report.violations[0].contains("restore the file"),
            "{:?}",
            report.violations
        );
    }

    #[test]
    fn a_schema_that_was_never_released_is_said_to_be_so() {
        let report = contract(|contract| contract.released.clear());
        assert_eq!(report.violations, Vec::<String>::new());
        assert_eq!(report.unreleased, ["progress/CourseEnrolled"]);
    }
}
