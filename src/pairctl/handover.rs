//! Making a node that can be stopped: it takes no more writes, and its peer has everything.
//!
//! The daemon is told by a signal, so whoever may stop it may do this, and nobody over the network.

use std::net::{ToSocketAddrs, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::client::ANSWER_TIMEOUT;
use super::server::Server;
use super::statistics::Statistics;
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

/// Hands over, or takes that back.
pub(crate) fn handover(server: &Server, options: &Handover) -> Outcome {
    match run(server, options) {
        Ok(what) => (format!("{server}: {what}\n"), String::new(), 0),
        Err((what, code)) => (String::new(), format!("pairctl: {what}\n"), code),
    }
}

fn run(server: &Server, options: &Handover) -> Result<String, (String, u8)> {
    let no = |what: String| (format!("{server}: {what}"), 1);
    let ask = |command| {
        Statistics::of(server, command, ANSWER_TIMEOUT).map_err(|what| (what, UNREACHABLE))
    };
    let before = ask("stats replication")?;
    let Some(flag) = before.get("replication_handover") else {
        return Err(no("it has no peer to hand over to".into()));
    };
    let state = before.get("replication_state").unwrap_or_default();
    if !options.undo && state != "in-sync" {
        return Err(no(format!("replication is {state}; wait until it is in-sync")));
    }
    if (flag == "1") == options.undo {
        let stats = ask("stats")?;
        let pid = local_daemon(server, stats.get("pid").unwrap_or_default()).map_err(no)?;
        kill(pid, Signal::SIGUSR2).map_err(|error| {
            no(format!("cannot signal process {pid}: {error}; run this as root or as its user"))
        })?;
    }
    let deadline = Instant::now() + options.timeout;
    loop {
        let now = ask("stats replication")?;
        let get = |name| now.get(name).unwrap_or_default();
        let (state, lag) = (get("replication_state"), get("replication_lag_ops"));
        match (options.undo, get("replication_handover")) {
            (true, "0") => return Ok("takes writes again".into()),
            (false, "1") if lag == "0" && state == "in-sync" => {
                return Ok(
                    "takes no more writes, and its peer has everything: it can be stopped".into()
                );
            }
            _ if Instant::now() >= deadline => {
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
