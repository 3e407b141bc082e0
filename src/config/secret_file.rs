//! The shared secret of the pair, from a file of its own or a credential of systemd's.

use std::env;
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::settings::Settings;
use super::source::Source;
use super::value::Complaint;
use crate::replication::secret::{SECRET_MAX, Secret};

/// Where systemd puts the unit's credentials, and the name of ours.
const VARIABLE: &str = "CREDENTIALS_DIRECTORY";
const CREDENTIAL: &str = "paircached.secret";
const CONFIG: u8 = 78;
const REMEDY: &str =
    "write one with: umask 077; openssl rand -hex 32 >FILE, the same on both nodes";

/// The credential that systemd gave to this unit. Its place may be for root alone, and be out of
/// sight once the daemon is somebody else.
pub(super) fn credential() -> Option<PathBuf> {
    let path = PathBuf::from(env::var_os(VARIABLE)?).join(CREDENTIAL);
    path.exists().then_some(path)
}

/// Takes the credential where no file is named, and makes relative names absolute.
pub(super) fn locate(settings: &mut Settings, directory: &Path, credential: Option<&Path>) {
    match (&mut settings.secret_file.value, credential) {
        (Some(path), _) => *path = directory.join(&path),
        (None, Some(path)) => {
            settings.secret_file.put(Some(path.to_path_buf()), &Source::Credential);
        }
        (None, None) => {}
    }
}

/// The secret, if there is to be one.
pub(super) fn read(settings: &Settings) -> Result<Option<Secret>, (Source, Complaint)> {
    let Some(path) = settings.secret_file.value.as_deref() else { return Ok(None) };
    read_from(path).map(Some).map_err(|(what, remedy)| {
        let what = format!("the shared secret {} {what}", path.display());
        (settings.secret_file.source.clone(), Complaint::new(CONFIG, what, remedy))
    })
}

/// Reads the secret again, as whoever the daemon is by now.
pub(super) fn reread(path: &Path, is_credential: bool) -> Result<Option<Secret>, String> {
    if is_credential && fs::File::open(path).is_err() {
        return Ok(None);
    }
    read_from(path).map(Some).map_err(|(what, remedy)| {
        let path = path.display();
        format!("the shared secret {path} {what}; {remedy}, and let the daemon's user read it")
    })
}

fn read_from(path: &Path) -> Result<Secret, (String, &'static str)> {
    let failed = |error: std::io::Error| {
        (
            format!("cannot be read: {error}"),
            "let it be owned and readable by who starts paircached",
        )
    };
    let file = fs::File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if metadata.is_file() && metadata.permissions().mode() & 0o007 != 0 {
        return Err(("is open to everybody on this host".to_owned(), "chmod o= it"));
    }
    let mut text = Vec::new();
    file.take(SECRET_MAX as u64 + 1).read_to_end(&mut text).map_err(failed)?;
    Secret::new(&text).map_err(|error| (error.to_string(), REMEDY))
}
