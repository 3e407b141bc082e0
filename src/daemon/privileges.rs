//! Becoming somebody without rights, for good.
//!
//! Order as in CERT POS36-C: groups, group, user, then a check that the way back is shut.

use super::exit::{Fatal, NO_USER, USAGE};
use nix::errno::Errno;
use nix::sys::prctl;
use nix::unistd::{Uid, User, geteuid, getuid, setgid, setgroups, setuid};

/// The user to run as, looked up while the system's files can still be read.
pub(super) fn target(user: Option<&str>) -> Result<Option<User>, Fatal> {
    if !geteuid().is_root() && !getuid().is_root() {
        if let Some(user) = user
            && User::from_uid(geteuid()).ok().flatten().is_none_or(|own| own.name != user)
        {
            log::warn!(
                "event=user_ignored user={user} reason=\"only root can become another user\""
            );
        }
        return Ok(None);
    }
    let Some(user) = user else {
        return Err(Fatal {
            message: "must add '-u root' to start as root".to_owned(),
            code: USAGE,
        });
    };
    match User::from_name(user) {
        Ok(Some(found)) => Ok(Some(found)),
        _ => Err(Fatal {
            message: format!("can't find the user {user} to switch to"),
            code: NO_USER,
        }),
    }
}

/// Becomes `target` and makes sure that there is no way back.
pub(super) fn drop_to(target: Option<&User>, coredumps: bool) -> Result<(), Fatal> {
    if let Some(user) = target {
        become_user(user)?;
    }
    // Without it a set-uid program could be what an intruder starts next.
    prctl::set_no_new_privs()
        .map_err(|error| Fatal::os(format!("failed to give up new privileges: {error}")))?;
    if coredumps {
        // The kernel takes the right to dump core from a process that has changed its user.
        prctl::set_dumpable(true)
            .map_err(|error| Fatal::os(format!("failed to keep core dumps: {error}")))?;
    }
    Ok(())
}

fn become_user(user: &User) -> Result<(), Fatal> {
    let failed = |what: &str, error: Errno| {
        let message = format!("failed to assume identity of user {}: {what}: {error}", user.name);
        Fatal::os(message)
    };
    match setgroups(&[]) {
        // In a user namespace that denies it there are no groups to lose.
        Ok(()) | Err(Errno::EPERM) => {}
        Err(error) => return Err(failed("setgroups", error)),
    }
    setgid(user.gid).map_err(|error| failed("setgid", error))?;
    setuid(user.uid).map_err(|error| failed("setuid", error))?;
    if !user.uid.is_root() && setuid(Uid::from_raw(0)).is_ok() {
        let message = format!("user {} could become root again; refusing to run", user.name);
        return Err(Fatal::os(message));
    }
    Ok(())
}
