//! The daemon's life: start-up in the order that privileges demand, service, stop.

mod bind;
mod detach;
mod exit;
mod limits;
mod logging;
mod notify;
mod passwords;
mod pid_file;
mod privileges;
mod reload;
mod restart;
mod serve;

use crate::command::{Cache, Passwords, Settings, WorkerCounters, execute_raw};
use crate::config::{self, Action, AtomicOps, Config, NodeName};
use crate::memory_file::Loaded;
use crate::replication::link::{Link, LinkSettings};
use crate::replication::session::Clients;
use crate::replication::{Durability, Errands, Mode, Restored, Seal, Status};
use crate::server::Listeners;
use crate::store::{Node, Store};
use crate::tls::Tls;
use exit::{Fatal, USAGE};
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

/// Where memcached's test tools want to read the ports that were bound.
const PORT_FILE_VARIABLE: &str = "MEMCACHED_PORT_FILENAME";

/// Everything that [`serve`] needs, bound and built.
struct Ready {
    config: Box<Config>,
    cache: Arc<Cache>,
    listeners: Listeners,
    link: Option<(Link, Vec<std::net::TcpListener>)>,
    /// For operators; empty when there is no endpoint for them.
    monitors: Vec<std::net::TcpListener>,
    detached: Option<detach::Detached>,
}

/// Runs the daemon with the program's arguments; returns its exit code.
pub fn main() -> ExitCode {
    let config = match config::load(std::env::args_os()) {
        Ok(Action::Run(config)) => config,
        Ok(Action::Print(text)) => {
            say(&mut io::stdout(), &text);
            return ExitCode::SUCCESS;
        }
        Err(exit) => {
            say(&mut io::stdout(), &exit.stdout);
            say(&mut io::stderr(), &exit.stderr);
            return ExitCode::from(exit.code);
        }
    };
    match start(config).and_then(serve::serve) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fatal) => {
            say(&mut io::stderr(), &format!("{}\n", fatal.message));
            ExitCode::from(fatal.code)
        }
    }
}

/// Prints to a stream that may be closed: then nobody wants to read it.
fn say(stream: &mut impl Write, text: &str) {
    let _ = stream.write_all(text.as_bytes());
    let _ = stream.flush();
}

/// All that comes before the first thread: rights are needed first and dropped in the middle.
fn start(config: Box<Config>) -> Result<Ready, Fatal> {
    serve::hold_back_signals();
    let mut listeners = bind::inherit()?;
    let detached = if config.detach {
        Some(detach::detach(config.verbosity > 0, config.coredumps)?)
    } else {
        None
    };
    logging::start(&config.log, config.detach, config.verbosity);
    for warning in &config.warnings {
        log::warn!("event=config warning={warning:?}");
    }
    for option in &config.no_effect {
        log::warn!("event=config no_effect={option:?}");
    }
    let user = privileges::target(config.user.as_deref())?;
    if config.coredumps {
        limits::allow_core_dumps()?;
    }
    let connections = limits::raise_open_files(config.max_connections);
    // While the rights of root may still be needed to read a key.
    let tls = load_tls(&config)?;
    bind::bind_addresses(&config, &mut listeners)?;
    let peers = bind::bind_peer(&config, &mut listeners)?;
    let monitors = bind::bind_monitor(&config, &mut listeners)?;
    let passwords = passwords::read(&config);
    privileges::drop_to(user.as_ref(), config.coredumps)?;
    // A file may be there for only one of the two users.
    let passwords = passwords.or_else(|_| passwords::read(&config))?;
    if config.lock_memory {
        limits::lock_memory();
    }
    if config.large_pages {
        limits::check_huge_pages();
    }
    // No client is let in before it is loaded.
    let restart::Opened { store, loaded } = restart::open_store(&config)?;
    bind::listen_all(&config, &listeners, &[&peers, &monitors])?;
    bind::bind_unix(&config, &mut listeners)?;
    bind::keep_inherited(&config, &mut listeners);
    if let Some(file) = std::env::var_os(PORT_FILE_VARIABLE)
        && config.unix_socket.is_none()
    {
        let file = Path::new(&file);
        let written = listeners.write_port_file(file);
        written.map_err(|error| {
            Fatal::os(format!("failed to write the ports to {}: {error}", file.display()))
        })?;
    }
    // As memcached's, it belongs to the user that the daemon runs as.
    if let Some(path) = &config.pid_file {
        pid_file::write(path);
    }
    let (cache, link) = build(&config, connections, store, loaded, passwords, tls);
    restart::begin_serving(&config, loaded)?;
    let link = link.map(|link| (link, peers));
    Ok(Ready { config, cache, listeners, link, monitors, detached })
}

fn load_tls(config: &Config) -> Result<Option<Arc<Tls>>, Fatal> {
    if !config.tls.enabled {
        return Ok(None);
    }
    match Tls::load(config.tls.clone(), config.sources.directory.clone()) {
        Ok(tls) => Ok(Some(Arc::new(tls))),
        Err(error) => Err(Fatal { message: error.to_string(), code: USAGE }),
    }
}

/// What serves so many clients at once; `loaded` is what the store has from a file, if it has.
fn build(
    config: &Config,
    max_connections: u32,
    store: Arc<Store>,
    loaded: Option<Loaded>,
    passwords: Option<Passwords>,
    tls: Option<Arc<Tls>>,
) -> (Arc<Cache>, Option<Link>) {
    let replication = config.replication.as_ref();
    let status = replication.map(|replication| {
        let (host, port) = (&replication.peer.host, replication.peer.port);
        let peer =
            if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let durability = match replication.durability {
            Mode::Async => None,
            mode => Some(Arc::new(Durability::new(mode, replication.durability_timeout))),
        };
        let (owned, refused_alone) = match replication.atomic_ops {
            AtomicOps::Local => (false, false),
            AtomicOps::Owner => (true, false),
            AtomicOps::OwnerOrError => (true, true),
        };
        let errands = Arc::new(Errands::new(owned, refused_alone));
        Arc::new(Status::new(peer, Clients { durability, errands }))
    });
    let settings = Settings {
        max_connections,
        tcp_port: config.tcp_port.as_asked(),
        udp_port: config.udp_port.as_asked(),
        threads_per_udp: bind::threads_per_udp(config),
        interfaces: Some(bind::interfaces(config)).filter(|interfaces| !interfaces.is_empty()),
        verbosity: config.verbosity,
        evictions: config.evictions,
        unix_socket: config.unix_socket.clone(),
        unix_mask: config.unix_mask,
        shutdown_command: config.shutdown_command,
        growth_factor: config.growth_factor,
        chunk_size: config.chunk_size,
        threads: config.threads,
        requests_per_event: config.requests_per_event,
        cas: config.cas,
        protocol: config.protocol,
        ascii_file: config.ascii_file.clone(),
        sasl: config.sasl,
        backlog: config.backlog,
        item_size_max: config.item_size_max,
        flush_enabled: config.flush_enabled,
        dump_enabled: config.dump_enabled,
        maxconns_fast: config.maxconns_fast,
        watch_enabled: config.watch_enabled,
        watcher_buffer: config.watcher_buffer,
        unused: config.unused.clone(),
        worker_buffer: config.worker_buffer,
        prefix_delimiter: config.prefix_delimiter,
        detail_enabled: config.detail_enabled,
        track_sizes: config.track_sizes,
        idle_timeout: config.idle_timeout,
        tls: config.tls.clone(),
        memory_file: config.memory_file.clone(),
        movable_clock: config.relaxed_privileges,
        repcached: config.repcached_flags,
    };
    store.set_crawling(config.lru_crawler);
    let cache = Arc::new(Cache::new(Arc::clone(&store), settings, passwords, status.clone(), tls));
    if let Some(status) = &status {
        // Weakly: the cache has the errands, and they are to have no cache of their own.
        let (cache, worker) = (Arc::downgrade(&cache), Mutex::new(WorkerCounters::default()));
        status.errands().on_request(move |raw| {
            let worker = worker.lock().unwrap_or_else(PoisonError::into_inner);
            cache.upgrade().and_then(|cache| execute_raw(&cache, &worker, raw))
        });
    }
    let link = replication.zip(status).map(|(replication, status)| {
        let settings = LinkSettings {
            peer_host: replication.peer.host.clone(),
            peer_port: replication.peer.port,
            port: replication.port,
            node: match replication.node {
                NodeName::Auto => None,
                NodeName::A => Some(Node::A),
                NodeName::B => Some(Node::B),
            },
            node_before: loaded.map(|loaded| loaded.node),
            restored: loaded.map(|Loaded { lineage, newest, .. }| Restored {
                lineage,
                newest,
                stale: false,
            }),
            cluster: replication.cluster.clone(),
            seal: config.seal.clone(),
            window: replication.window,
            max_clock_skew: replication.max_clock_skew,
            drain_timeout: replication.drain_timeout,
        };
        status.figures().seal = config.seal.clone();
        if config.seal == Seal::None {
            log::warn!(
                "event=replication_unprotected port={} \
                 risk=\"whoever reaches this port can read and change everything\" \
                 remedy=\"set secret_file or tls_* on both nodes, or let only the peer reach the port\"",
                replication.port
            );
        }
        Link::new(settings, store, status, cache.clock)
    });
    (cache, link)
}
