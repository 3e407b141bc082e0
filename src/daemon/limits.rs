//! What the system grants: open files, core dumps, memory that stays.

use super::exit::Fatal;
use nix::sys::mman::{MlockAllFlags, mlockall};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};

/// Descriptors beyond those of clients: listeners, workers, the link, the log.
const OTHER_FILES: u64 = 64;

/// Makes room for `connections` clients. Where the system does not grant it, as many as it grants
/// are served, and the log says how many that is.
pub(super) fn raise_open_files(connections: u32) -> u32 {
    let wanted = u64::from(connections) + OTHER_FILES;
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return connections;
    };
    if soft >= wanted {
        return connections;
    }
    if setrlimit(Resource::RLIMIT_NOFILE, wanted, hard.max(wanted)).is_ok() {
        return connections;
    }
    let granted = hard.min(wanted);
    let granted =
        if setrlimit(Resource::RLIMIT_NOFILE, granted, hard).is_ok() { granted } else { soft };
    let served = u32::try_from(granted.saturating_sub(OTHER_FILES))
        .unwrap_or(connections)
        .clamp(1, connections);
    if served < connections {
        log::warn!(
            "event=connections_limited asked={connections} granted={served} open_files={granted} \
             remedy=\"raise the limit of open files: LimitNOFILE= in the unit, or ulimit -Hn\""
        );
    }
    served
}

/// Lets the process write core files of any size.
pub(super) fn allow_core_dumps() -> Result<(), Fatal> {
    let hard = getrlimit(Resource::RLIMIT_CORE).map_or(0, |(_, hard)| hard);
    setrlimit(Resource::RLIMIT_CORE, RLIM_INFINITY, RLIM_INFINITY)
        .or_else(
            |error| {
                if hard == 0 { Err(error) } else { setrlimit(Resource::RLIMIT_CORE, hard, hard) }
            },
        )
        .map_err(|_| Fatal::os("failed to ensure corefile creation"))
}

/// The store asks for huge pages itself; a system that has none does not say so to who asks.
pub(super) fn check_huge_pages() {
    const STATE: &str = "/sys/kernel/mm/transparent_hugepage/enabled";
    let error = match std::fs::read_to_string(STATE) {
        Ok(state) if state.contains("[never]") => String::from("they are off"),
        Ok(_) => return,
        Err(error) => error.to_string(),
    };
    log::warn!(
        "event=large_pages_unavailable path={STATE} error=\"{error}\" next=\"small pages\" \
         remedy=\"write madvise to it, or leave -L out\""
    );
}

/// Keeps all memory from being swapped out; not being able to is worth a warning only.
pub(super) fn lock_memory() {
    // Below a limit the lock succeeds now, and the first allocation beyond it kills the daemon.
    if getrlimit(Resource::RLIMIT_MEMLOCK).is_ok_and(|(soft, _)| soft != RLIM_INFINITY) {
        log::warn!(
            "event=lock_memory_failed error=\"the locked memory of this process is limited\" \
             remedy=\"LimitMEMLOCK=infinity in the unit, or ulimit -l unlimited\""
        );
        return;
    }
    if let Err(error) = mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE) {
        log::warn!(
            "event=lock_memory_failed error=\"{error}\" remedy=\"LimitMEMLOCK=infinity in the unit, or ulimit -l\""
        );
    }
}
