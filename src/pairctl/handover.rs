//! Making a node that can be stopped: it takes no more writes, and its peer has everything.
//!
//! The daemon is told by a signal, so whoever may stop it may do this, and nobody over the network.

use std::collections::HashMap;
use std::net::{ToSocketAddrs, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::client::{ANSWER_TIMEOUT, ask};
use super::server::Server;
use super::{Outcome, UNREACHABLE};

const PAUSE: Duration = Duration::from_millis(50);

/// How to hand over.
#[derive(clap::Args)]
pub(crate) struct Handover {
    /// Take writes again
    #[arg(long)]
    undo: bool,
    /// Give up when the peer does not have everything after so long
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = super::seconds)]
    timeout: Duration,
}

type Stats = HashMap<String, String>;

fn stats(server: &Server) -> Result<Stats, String> {
    let mut lines = ask(server, "stats", ANSWER_TIMEOUT)?;
    lines.extend(ask(server, "stats replication", ANSWER_TIMEOUT)?);
    let pairs = lines.iter().filter_map(|line| line.strip_prefix("STAT ")?.split_once(' '));
    Ok(pairs.map(|(name, value)| (String::from(name), String::from(value))).collect())
}

fn get<'a>(stats: &'a Stats, name: &str) -> &'a str {
    stats.get(name).map_or("", String::as_str)
}

/// Hands over, or takes that back.
pub(crate) fn handover(server: &Server, options: &Handover) -> Outcome {
    match run(server, options) {
        Ok(what) => (format!("{server}: {what}\n"), String::new(), 0),
        Err((what, code)) => (String::new(), format!("pairctl: {what}\n"), code),
    }
}

fn run(server: &Server, options: &Handover) -> Result<String, (String, u8)> {
    let unreachable = |what: String| (what, UNREACHABLE);
    let no = |what: String| (format!("{server}: {what}"), 1);
    let before = stats(server).map_err(unreachable)?;
    let hands_over = match get(&before, "replication_handover") {
        "" => return Err(no("it has no peer to hand over to".into())),
        value => value == "1",
    };
    if !options.undo && get(&before, "replication_state") != "in-sync" {
        let state = get(&before, "replication_state");
        return Err(no(format!("replication is {state}; wait until it is in-sync")));
    }
    if hands_over == options.undo {
        let pid = local_daemon(server, get(&before, "pid")).map_err(no)?;
        kill(pid, Signal::SIGUSR2).map_err(|error| {
            no(format!("cannot signal process {pid}: {error}; run this as root or as its user"))
        })?;
    }
    let deadline = Instant::now() + options.timeout;
    loop {
        let now = stats(server).map_err(unreachable)?;
        let (flag, lag) = (get(&now, "replication_handover"), get(&now, "replication_lag_ops"));
        match (options.undo, flag) {
            (true, "0") => return Ok("takes writes again".into()),
            (false, "1") if lag == "0" && get(&now, "replication_state") == "in-sync" => {
                return Ok(
                    "takes no more writes, and its peer has everything: it can be stopped".into()
                );
            }
            _ if Instant::now() >= deadline => {
                let state = get(&now, "replication_state");
                return Err(no(format!(
                    "not handed over: replication is {state}, lag {lag} operations; \
                     --undo lets it take writes again"
                )));
            }
            _ => thread::sleep(PAUSE),
        }
    }
}

/// The daemon behind `server`, if it runs on this host.
fn local_daemon(server: &Server, pid: &str) -> Result<Pid, String> {
    let far = || String::from("it runs on another host; run this there");
    if let Server::Tcp(host, ..) | Server::Tls(host, ..) = server {
        let mut addresses = (host.as_str(), 0).to_socket_addrs().map_err(|_| far())?;
        // Only an address of this host can be bound to.
        if !addresses.any(|address| UdpSocket::bind(address).is_ok()) {
            return Err(far());
        }
    }
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).map_err(|_| far())?;
    if name.trim_end() != "paircached" {
        return Err(far());
    }
    pid.parse().map(Pid::from_raw).map_err(|_| far())
}
