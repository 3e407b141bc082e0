//! Service: the control thread with its timers, signals and the link, until it is told to stop.

use super::exit::Fatal;
use super::{Ready, notify, pid_file, reload, restart};
use crate::command::Cache;
use crate::config::Config;
use crate::monitor::{Monitor, PeerAddress};
use crate::replication::Lineage;
use crate::server::worker::Request;
use crate::server::{Workers, worker};
use nix::sys::signal::SigSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, interval_at};

/// How often the store gets its tick.
const TICK: Duration = Duration::from_millis(100);
/// How often systemd is told the state, if it changed.
const REPORT: Duration = Duration::from_secs(1);
/// Pulse of the watchdog where systemd does not ask for one: never, as far as anybody lives.
const NEVER: Duration = Duration::from_secs(60 * 60 * 24 * 365);

/// Serves until a signal or a client ends it.
pub(super) fn serve(ready: Ready) -> Result<(), Fatal> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime
        .map_err(|error| Fatal::os(format!("failed to start the control thread: {error}")))?;
    let served = runtime.block_on(run(ready));
    // A look-up of the peer's name that hangs must not hold up the end.
    runtime.shutdown_background();
    let end = served.map_err(|error| Fatal::os(format!("failed to start serving: {error}")))?;
    let saved = if end.graceful {
        restart::save(&end.config, &end.cache.store, end.lineage)
    } else {
        Ok(())
    };
    // Whoever waits for it to go wants to start the next daemon.
    if let (Some(path), true) = (&end.config.pid_file, end.detached) {
        pid_file::remove(path);
    }
    log::info!("event=stopped");
    saved
}

/// What is left when nothing is served any more.
struct End {
    config: Box<Config>,
    cache: Arc<Cache>,
    detached: bool,
    /// Whether what the cache holds is to be kept.
    graceful: bool,
    /// For whoever brings it back.
    lineage: Lineage,
}

async fn run(ready: Ready) -> io::Result<End> {
    let Ready { mut config, cache, listeners, link, monitors, detached } = ready;
    let mut signals = Signals::new()?;
    let _ = held_back().thread_unblock();
    let (requests, mut asked) = mpsc::channel(1);
    let (workers, threads) = Workers::start(&cache, &requests)?;
    let workers = Arc::new(workers);
    let addresses = listeners.addresses();
    let mut accepting = listeners.accept(&cache, &workers)?;
    let (stop, stopping) = watch::channel(false);
    let peer = config.monitor.as_ref().and_then(|monitor| monitor.peer.clone());
    let peer = peer.map(|(host, port)| PeerAddress { host, port });
    // Until the very end: those who ask are to hear that it stops.
    let (leave, leaving) = watch::channel(false);
    let monitoring = match monitors.is_empty() {
        true => None,
        false => Some(Monitor::new(&cache, peer, leaving).serve(monitors)?),
    };
    let link = match link {
        Some((link, listeners)) => {
            let listeners = listeners
                .into_iter()
                .map(tokio::net::TcpListener::from_std)
                .collect::<io::Result<_>>()?;
            Some(tokio::spawn(link.run(listeners, stopping)))
        }
        None => None,
    };
    let mut status = describe(&cache);
    notify::ready(&status);
    log::info!(
        "event=started version={} threads={} memory={} listen={addresses:?}",
        env!("CARGO_PKG_VERSION"),
        config.threads,
        config.memory
    );
    let detached = detached.map(super::detach::Detached::serving);

    let mut tick = interval(TICK);
    let mut report = interval(REPORT);
    let mut watchdog = Watchdog::new(&workers);
    for interval in [&mut tick, &mut report, &mut watchdog.interval] {
        // After a pause of the whole machine there is nothing to make up for.
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    }
    let (reason, graceful) = loop {
        tokio::select! {
            _ = tick.tick() => cache.store.tick(cache.clock.now()),
            _ = report.tick() => {
                let now = describe(&cache);
                if now != status {
                    notify::status(&now);
                    status = now;
                }
            }
            _ = watchdog.interval.tick() => watchdog.check(&workers),
            _ = signals.hangup.recv() => reload_config(&mut config, &cache, &status),
            _ = signals.terminate.recv() => break ("SIGTERM", false),
            _ = signals.interrupt.recv() => break ("SIGINT", false),
            _ = signals.user.recv() => break ("SIGUSR1", true),
            _ = signals.handover.recv() => hand_over(&cache),
            Some(Request::Shutdown { graceful }) = asked.recv() => break ("shutdown", graceful),
        }
    };

    notify::stopping();
    let _ = leave.send(true);
    log::info!("event=stopping reason={reason}");
    accepting.shutdown().await;
    drop(workers);
    // Each ends within the turn it is in.
    threads.join();
    let _ = stop.send(true);
    let lineage = match link {
        // The link gives itself a time to drain.
        Some(link) => link.await.unwrap_or_default(),
        None => Lineage::default(),
    };
    drop(monitoring);
    Ok(End { config, cache, detached: detached.is_some(), graceful, lineage })
}

fn reload_config(config: &mut Box<Config>, cache: &Cache, status: &str) {
    notify::reloading();
    reload::reload(config, cache);
    notify::ready(status);
}

/// SIGUSR2: no more writes from clients, or again.
fn hand_over(cache: &Cache) {
    let Some(replication) = &cache.replication else {
        log::warn!("event=handover reason=\"there is no peer to hand over to\"");
        return;
    };
    let writes = if replication.toggle_handover() { "refused" } else { "taken" };
    log::info!("event=handover writes={writes} peer={}", replication.peer());
}

fn describe(cache: &Cache) -> String {
    let items = cache.store.stats(cache.clock.now()).total().number;
    match &cache.replication {
        Some(replication) => replication.summary(items),
        None => format!("no peer; {items} items"),
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    user: Signal,
    handover: Signal,
    hangup: Signal,
}

/// Has the signals wait that must not end a daemon that is still to take them: its process id may
/// be known before. Only while there is no other thread.
pub(super) fn hold_back_signals() {
    let _ = held_back().thread_block();
}

fn held_back() -> SigSet {
    use nix::sys::signal::Signal::{SIGHUP, SIGUSR1, SIGUSR2};
    [SIGHUP, SIGUSR1, SIGUSR2].into_iter().collect()
}

impl Signals {
    fn new() -> io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            user: signal(SignalKind::user_defined1())?,
            handover: signal(SignalKind::user_defined2())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

/// Tells systemd that the daemon lives, as long as every worker does.
struct Watchdog {
    interval: Interval,
    pulses: Vec<u64>,
    /// A worker that had not moved at the last look.
    suspected: Option<usize>,
}

impl Watchdog {
    fn new(workers: &worker::Workers) -> Watchdog {
        let period = notify::watchdog().unwrap_or(NEVER);
        let interval = interval_at(Instant::now() + period, period);
        Watchdog { interval, pulses: workers.pulses(), suspected: None }
    }

    fn check(&mut self, workers: &worker::Workers) {
        let pulses = workers.pulses();
        let stuck = pulses.iter().zip(&self.pulses).position(|(now, before)| now == before);
        match (stuck, self.suspected) {
            // After a pause of the whole process this thread may be the first to wake.
            (None, _) | (Some(_), None) => notify::alive(),
            (Some(worker), Some(_)) => {
                let next = "systemd will restart the daemon";
                log::error!("event=worker_stuck worker={worker} next={next:?}");
            }
        }
        self.suspected = stuck;
        self.pulses = pulses;
    }
}
