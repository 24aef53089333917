//! `secret`: values for the configuration that only their user can read.

use std::fs::OpenOptions;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use chrono::SecondsFormat;
use secrecy::ExposeSecret as _;
use secrecy::zeroize::Zeroizing;

use super::args::{EncryptArgs, Global, KeygenArgs, SecretCommand};
use super::output;
use crate::clock;
use crate::config::encrypted;
use crate::error::JobError;

/// An identity is for its owner alone.
const OWNER_ONLY: u32 = 0o600;

pub(super) fn secret(global: &Global, command: SecretCommand) -> Result<(), JobError> {
    match command {
        SecretCommand::Encrypt(args) => encrypt(global, &args),
        SecretCommand::Keygen(args) => keygen(global, &args),
    }
}

fn encrypt(global: &Global, args: &EncryptArgs) -> Result<(), JobError> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        // Nobody is left to tell when standard error is closed.
        let hint = "type the value, a line break and Ctrl-D (it can be seen; better is `< FILE`)";
        let _ = writeln!(io::stderr(), "{hint}");
    }
    let value = encrypted::encrypt(stdin.lock(), &args.recipient)?;
    output::encrypted(global.output, &value)
}

fn keygen(global: &Global, args: &KeygenArgs) -> Result<(), JobError> {
    let (identity, recipient) = encrypted::generate();
    let created = clock::now().to_rfc3339_opts(SecondsFormat::Secs, true);
    let text = Zeroizing::new(format!(
        "# created: {created}\n# public key: {recipient}\n{}\n",
        identity.expose_secret()
    ));
    match &args.out {
        None => output::identity(global.output, &recipient, &identity, &text),
        Some(file) => {
            write_new(file, &text)
                .map_err(|source| JobError::Keygen { file: file.clone(), source })?;
            output::recipient(global.output, &recipient)
        }
    }
}

/// Writes a file that is not there yet.
fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(OWNER_ONLY).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
