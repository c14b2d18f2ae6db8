//! Passwords on their way into PostgreSQL.
//!
//! Invariant: no password leaves this process in clear text. PostgreSQL is given the SCRAM verifier
//! that it would store anyway, so no statement log, monitor or error message can show the password.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::{Error, Result, Role};

/// PostgreSQL's own default.
const ITERATIONS: u32 = 4096;
const SALT_LENGTH: usize = 16;

/// Passwords of roles. A role without one is created without one, and then logs in only where the
/// server asks for none (peer, certificate).
pub type Passwords = BTreeMap<Role, Password>;

/// A password that does not show itself.
#[derive(Clone)]
pub struct Password(String);

impl Password {
    /// Wraps a password.
    pub fn new(clear: impl Into<String>) -> Self {
        Self(clear.into())
    }

    /// What PostgreSQL stores for the password: `SCRAM-SHA-256$<iterations>:<salt>$<keys>`.
    pub(crate) fn verifier(&self, role: Role) -> Result<String> {
        let salt: [u8; SALT_LENGTH] = rand::random();
        let normalized = stringprep::saslprep(&self.0).map_err(|_| Error::Password { role })?;
        let (stored_key, server_key) =
            scram_keys(normalized.as_bytes(), &salt).ok_or(Error::Password { role })?;
        Ok(format!(
            "SCRAM-SHA-256${ITERATIONS}:{}${}:{}",
            BASE64.encode(salt),
            BASE64.encode(stored_key),
            BASE64.encode(server_key)
        ))
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// Stored key and server key of RFC 5802; `None` for a key that HMAC refuses (it refuses none).
fn scram_keys(password: &[u8], salt: &[u8]) -> Option<([u8; 32], [u8; 32])> {
    let keyed = Hmac::<Sha256>::new_from_slice(password).ok()?;
    let mut block = mac(keyed.clone(), &[salt, &1_u32.to_be_bytes()]);
    let mut salted = block;
    for _ in 1..ITERATIONS {
        block = mac(keyed.clone(), &[&block]);
        salted
            .iter_mut()
            .zip(block)
            .for_each(|(sum, byte)| *sum ^= byte);
    }
    let salted = Hmac::<Sha256>::new_from_slice(&salted).ok()?;
    let client_key = mac(salted.clone(), &[b"Client Key"]);
    Some((
        Sha256::digest(client_key).into(),
        mac(salted, &[b"Server Key"]),
    ))
}

fn mac(mut keyed: Hmac<Sha256>, parts: &[&[u8]]) -> [u8; 32] {
    parts.iter().for_each(|part| keyed.update(part));
    keyed.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Service;

    #[test]
    fn keys_are_those_of_the_standard_s_example() {
        // RFC 7677, section 3: user "user", password "pencil".
        let salt = BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let (stored_key, server_key) = scram_keys(b"pencil", &salt).unwrap();

        assert_eq!(
            BASE64.encode(stored_key),
            "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="
        );
        assert_eq!(
            BASE64.encode(server_key),
            "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
        );
    }

    #[test]
    fn a_password_does_not_show_itself() {
        let password = Password::new("hunter2");
        let role = Service::Analytics.role();

        assert!(!format!("{password:?}").contains("hunter2"));
        assert!(!password.verifier(role).unwrap().contains("hunter2"));
    }

    #[test]
    fn a_password_that_no_client_could_send_is_refused() {
        let refusal = Password::new("bell\u{7}")
            .verifier(Role::Relay)
            .unwrap_err()
            .to_string();
        assert!(
            refusal.contains("the password of relay_service"),
            "{refusal}"
        );
    }
}
