//! What systemd is told.

use sd_notify::NotifyState;
use std::time::Duration;

/// How long systemd is to wait for the next word while the daemon is busy.
const PATIENCE: Duration = Duration::from_secs(30);

fn tell(states: &[NotifyState<'_>]) {
    // Without a service manager there is nobody to tell, and that is fine.
    let _ = sd_notify::notify(states);
}

/// Listening, privileges dropped, replication started.
pub(super) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// A line for `systemctl status`.
pub(super) fn status(status: &str) {
    tell(&[NotifyState::Status(status)]);
}

/// Reading the configuration again; [`ready`] ends it.
pub(super) fn reloading() {
    // From systemd 253 on a reload without the time of its beginning counts as failed.
    match NotifyState::monotonic_usec_now() {
        Ok(time) => tell(&[NotifyState::Reloading, time]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// Busy with what takes its time, before it serves or after: systemd is to wait on.
pub(super) fn busy(status: &str) {
    let patience = NotifyState::ExtendTimeoutUsec(PATIENCE.as_micros() as u32);
    tell(&[patience, NotifyState::Status(status), NotifyState::Watchdog]);
}

/// On the way out.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Still alive.
pub(super) fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// How often [`alive`] is due: half of what systemd allows; `None` if it does not watch.
pub(super) fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|allowed| allowed / 2)
}
