//! Encryption and authentication towards the brokers.
//!
//! Invariant: a password is never sent unencrypted unless that was asked for in so many words, and
//! a setting that would have no effect is a contradiction.

use super::problem::Problem;
use super::reader::{Choice, Reader};
use publish::{Sasl, SaslMechanism, Secret, Security, Tls};

const SECURITY: &str = "kafka.security";
const USER: &str = "kafka.sasl_user";
const PASSWORD: &str = "kafka.sasl_password";
const MECHANISM: &str = "kafka.sasl_mechanism";
const UNENCRYPTED: &str = "kafka.allow_unencrypted_sasl";
const CA: &str = "kafka.tls_ca";
const CERTIFICATE: &str = "kafka.tls_certificate";
const KEY: &str = "kafka.tls_key";
const KEY_PASSWORD: &str = "kafka.tls_key_password";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Plaintext,
    Tls,
    SaslPlaintext,
    SaslTls,
}

impl Choice for Mode {
    const CHOICES: &'static [(&'static str, Self)] = &[
        ("plaintext", Self::Plaintext),
        ("tls", Self::Tls),
        ("sasl_plaintext", Self::SaslPlaintext),
        ("sasl_tls", Self::SaslTls),
    ];
}

impl Choice for SaslMechanism {
    const CHOICES: &'static [(&'static str, Self)] = &[
        ("PLAIN", Self::Plain),
        ("SCRAM-SHA-256", Self::ScramSha256),
        ("SCRAM-SHA-512", Self::ScramSha512),
    ];
}

/// Reads the settings; where no mode is given, the one that the other settings need.
pub fn read(reader: &mut Reader) -> Security {
    let sasl = read_sasl(reader);
    let tls = read_tls(reader);
    let with_sasl = [USER, PASSWORD, MECHANISM]
        .into_iter()
        .find(|key| reader.is_given(key));
    let with_tls = [CA, CERTIFICATE, KEY]
        .into_iter()
        .find(|key| reader.is_given(key));
    let chosen = reader.optional(SECURITY);
    let mode = chosen.unwrap_or(match (with_sasl, with_tls) {
        (Some(_), _) => Mode::SaslTls,
        (None, Some(_)) => Mode::Tls,
        (None, None) => Mode::Plaintext,
    });
    if matches!(mode, Mode::Plaintext | Mode::Tls) {
        refuse_useless(reader, with_sasl, "authentication", "\"sasl_tls\"");
    } else {
        demand_login(reader, &sasl);
    }
    if matches!(mode, Mode::Plaintext | Mode::SaslPlaintext) {
        refuse_useless(reader, with_tls, "encryption", "\"tls\" or \"sasl_tls\"");
    }
    let unencrypted_allowed = reader.optional(UNENCRYPTED) == Some(true);
    if mode == Mode::SaslPlaintext && !unencrypted_allowed {
        let what = "is \"sasl_plaintext\", which sends user and password unprotected; set it to \
                    \"sasl_tls\", or kafka.allow_unencrypted_sasl = true if that is meant";
        reader.problem(Problem::error(&[SECURITY], what));
    }
    match mode {
        Mode::Plaintext => Security::Plaintext,
        Mode::Tls => Security::Tls(tls),
        Mode::SaslPlaintext => Security::Sasl(sasl),
        Mode::SaslTls => Security::SaslTls(sasl, tls),
    }
}

fn read_sasl(reader: &mut Reader) -> Sasl {
    Sasl {
        user: reader.optional(USER).unwrap_or_default(),
        password: reader.optional(PASSWORD).unwrap_or_else(|| Secret::new("")),
        mechanism: reader
            .optional(MECHANISM)
            .unwrap_or(SaslMechanism::ScramSha512),
    }
}

fn read_tls(reader: &mut Reader) -> Tls {
    let tls = Tls {
        ca: reader.optional(CA),
        certificate: reader.optional(CERTIFICATE),
        key: reader.optional(KEY),
        key_password: reader.optional(KEY_PASSWORD),
    };
    if tls.certificate.is_some() != tls.key.is_some() {
        let what = "and kafka.tls_key belong together; set both or neither";
        reader.problem(Problem::error(&[CERTIFICATE, KEY], what));
    }
    tls
}

fn demand_login(reader: &mut Reader, sasl: &Sasl) {
    let empty = [
        (USER, sasl.user.is_empty()),
        (PASSWORD, sasl.password.expose().is_empty()),
    ];
    for (key, is_empty) in empty {
        if is_empty && !reader.is_unsound(key) {
            let what_for = "the broker's user and password, or leave both out";
            reader.problem(Problem::missing(key, what_for));
        }
    }
}

fn refuse_useless(reader: &mut Reader, given: Option<&str>, what: &str, mode: &str) {
    if let Some(key) = given {
        let problem =
            format!("asks for no {what}, but {key} is set; remove it, or set this to {mode}");
        reader.problem(Problem::error(&[SECURITY, key], problem));
    }
}
