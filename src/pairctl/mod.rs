//! Asks nodes how they are and what they hold, over the port that clients use.

mod bench;
mod client;
mod digest;
mod dump;
mod handover;
mod health;
mod load;
mod login;
mod record;
mod server;
mod statistics;
mod status;
mod tables;
mod tls;
mod top;
mod verify;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, Parser, Subcommand};

use client::{ANSWER_TIMEOUT, ask};
use server::Server;

/// A node could not be asked.
const UNREACHABLE: u8 = 3;
/// Wrong command line.
const USAGE: u8 = 2;

/// Shows how a pair of paircached nodes is.
#[derive(Parser)]
#[command(
    name = "pairctl",
    version,
    about,
    after_help = "Exit status: 0 fine, 1 not healthy, or errors under load or of items, 2 wrong command line, 3 a node did not answer."
)]
struct Arguments {
    /// Node to ask: HOST, HOST:PORT, [IPV6]:PORT or the path of a Unix socket; may be repeated
    #[arg(short, long = "server", value_name = "HOST[:PORT]", default_value = "127.0.0.1:11211")]
    servers: Vec<Server>,
    #[command(flatten)]
    tls: tls::Options,
    #[command(flatten)]
    login: login::Options,
    #[command(subcommand)]
    command: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Show replication and contents, the nodes side by side
    Status(status::Status),
    /// Print a node's statistics: all as memcached-tool does, others as the node answers
    Stats {
        /// Which, such as items, slabs or replication; or a node as HOST:PORT, in place of -s
        #[arg(value_name = "ARG", value_parser = statistics)]
        arguments: Vec<String>,
    },
    /// Show the slab classes of a node, or any memcached, as memcached-tool does
    Display(Node),
    /// Show its settings
    Settings(Node),
    /// Show how many items of which sizes it holds, if it counts them
    Sizes(Node),
    /// List what it holds, a line for each key
    Keys {
        #[command(flatten)]
        node: Node,
        /// Stop after so many keys
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        limit: Option<u64>,
        /// Print what is encoded as %XX as it is
        #[arg(short, long)]
        unescape: bool,
    },
    /// Print what it holds as the commands that store it again
    Dump {
        #[command(flatten)]
        node: Node,
        /// Stop after so many keys
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        limit: Option<u64>,
    },
    /// Store what a dump holds; it may be memcached-tool's
    Load(load::Load),
    /// Exit 0 when every node is in sync and filled, or has replication disabled
    Health {
        /// Wait so long for it to become so
        #[arg(long, value_name = "SECONDS", default_value = "0", value_parser = seconds)]
        timeout: Duration,
    },
    /// Show rates, hit ratio, lag and the busiest classes of the nodes side by side, live
    Top(top::Top),
    /// Compare two nodes key by key while they serve, and name the keys that differ
    Verify(verify::Verify),
    /// Let a node of this host take no more writes, and say when it can be stopped without loss
    Handover(handover::Handover),
    /// Exit 0 when clients may be sent to every node, even if it lost its peer
    Ready,
    /// Print what lets a shell complete the command line of pairctl, or of the daemon
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
        /// Which program's command line
        #[arg(long, value_name = "PROGRAM", default_value = "pairctl", value_parser = ["pairctl", "paircached"])]
        program: String,
    },
    /// Put load on a node, or any memcached, and measure it (it overwrites keys named key:NUMBER)
    Bench(bench::Load),
}

/// A node that stands behind the command, as memcached-tool has it.
#[derive(clap::Args)]
struct Node {
    /// Node, in place of -s
    #[arg(value_name = "HOST[:PORT]")]
    node: Option<Server>,
}

impl Action {
    /// Takes the node that stands behind the command, if one does.
    fn take_node(&mut self) -> Result<Option<Server>, String> {
        Ok(match self {
            Action::Display(node) | Action::Settings(node) | Action::Sizes(node) => {
                node.node.take()
            }
            Action::Keys { node, .. } | Action::Dump { node, .. } => node.node.take(),
            Action::Load(load) => load.node.take(),
            // No statistics are called anything like an address.
            Action::Stats { arguments } => match &arguments[..] {
                [node] if node.contains([':', '/']) => {
                    let node = node.parse().map_err(|what| format!("{node}: {what}"))?;
                    arguments.clear();
                    Some(node)
                }
                _ => None,
            },
            _ => None,
        })
    }
}

/// Runs the command that the process was started with.
pub(crate) fn main() -> ExitCode {
    let Arguments { servers, tls, login, mut command } = Arguments::parse();
    let servers = command.take_node().and_then(|node| {
        login.take()?;
        let named = node.map_or(servers, |node| vec![node]);
        tls.secure(named)
    });
    let (output, errors, code) = match servers {
        Ok(servers) => run(&command, &servers),
        Err(what) => (String::new(), format!("pairctl: {what}\n"), USAGE),
    };
    // Nobody is left to tell when these cannot be written.
    let _ = io::stderr().write_all(errors.as_bytes());
    let _ = io::stdout().write_all(output.as_bytes());
    ExitCode::from(code)
}

fn run(command: &Action, servers: &[Server]) -> Outcome {
    let limited = |limit: &Option<u64>| limit.unwrap_or(u64::MAX);
    match command {
        Action::Status(options) => status::status(servers, options),
        Action::Stats { arguments: words } => stats(servers, words),
        Action::Display(_) => tables::display(servers),
        Action::Settings(_) => tables::table(servers, &tables::SETTINGS),
        Action::Sizes(_) => tables::table(servers, &tables::SIZES),
        Action::Keys { limit, unescape, .. } => {
            one(servers, |server| dump::keys(server, limited(limit), *unescape))
        }
        Action::Dump { limit, .. } => one(servers, |server| dump::dump(server, limited(limit))),
        Action::Load(load) => one(servers, |server| load::load(server, load)),
        Action::Health { timeout } => health::health(servers, *timeout),
        Action::Top(words) => top::top(servers, words),
        Action::Verify(options) => verify::verify(servers, options),
        Action::Handover(options) => one(servers, |server| handover::handover(server, options)),
        Action::Ready => health::ready(servers),
        Action::Completions { shell, program } => (completions(*shell, program), String::new(), 0),
        Action::Bench(load) => bench::bench(servers, load),
    }
}

/// Text for standard output, text for standard error, exit code.
type Outcome = (String, String, u8);

fn completions(shell: clap_complete::Shell, program: &str) -> String {
    let mut command = match program {
        "paircached" => paircached::config::command_line(),
        _ => Arguments::command(),
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, program, &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// What only one node can be asked for.
fn one(servers: &[Server], run: impl FnOnce(&Server) -> Outcome) -> Outcome {
    match servers {
        [server] => run(server),
        _ => (String::new(), String::from("pairctl: this takes one node\n"), USAGE),
    }
}

fn stats(servers: &[Server], words: &[String]) -> Outcome {
    if words.is_empty() {
        return tables::table(servers, &tables::STATS);
    }
    let (mut output, mut errors, mut code) = (String::new(), String::new(), 0);
    let mut command = String::from("stats");
    for word in words {
        command.push(' ');
        command.push_str(word);
    }
    for server in servers {
        if servers.len() > 1 {
            output.push_str(&format!("# {server}\n"));
        }
        match ask(server, &command, ANSWER_TIMEOUT) {
            Ok(lines) => {
                for line in lines {
                    let line = line.strip_prefix("STAT ").unwrap_or(&line);
                    output.push_str(&format!("{line}\n"));
                }
            }
            Err(what) => {
                errors.push_str(&format!("pairctl: {what}\n"));
                code = UNREACHABLE;
            }
        }
    }
    (output, errors, code)
}

/// A word that cannot end the line it is sent in.
fn statistics(text: &str) -> Result<String, String> {
    match text.bytes().all(|byte| byte.is_ascii_graphic()) && !text.is_empty() {
        true => Ok(String::from(text)),
        false => Err(String::from("only letters, digits and signs, no spaces")),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.parse::<f64>().ok().filter(|number| (0.0..=86_400.0).contains(number));
    number.map(Duration::from_secs_f64).ok_or_else(|| String::from("write seconds, 0 to 86400"))
}
