//! Puts load on a server, and says how fast it answers.

mod keys;
mod load;
mod protocol;
mod reply;
mod report;

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use clap::value_parser as number;
use indicatif::ProgressBar;
use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;

use super::server::Server;
use super::{Outcome, USAGE, seconds};
use keys::{Chooser, Distribution, Sizes, Values};
use load::{Connection, Job, connect};
use protocol::Protocol;
use report::Totals;

/// How long it takes unless told otherwise.
const DEFAULT_DURATION: Duration = Duration::from_secs(10);
/// What requests under way and their answers may take in memory.
const MOST_MEMORY: u64 = 2 << 30;
/// Between two looks at how far it is.
const PROGRESS_STEP: Duration = Duration::from_millis(100);

/// What load to make.
#[derive(Args, Clone)]
pub(crate) struct Load {
    /// Protocol of the requests; in meta and binary each key of a get is a request of its own
    #[arg(long, value_name = "NAME", default_value = "text")]
    protocol: Protocol,
    /// Connections, shared by the threads
    #[arg(long, value_name = "N", default_value = "50", value_parser = number!(u32).range(1..=20_000))]
    connections: u32,
    /// Threads that send and receive
    #[arg(long, value_name = "N", default_value = "1", value_parser = number!(u32).range(1..=64))]
    threads: u32,
    /// Requests that a connection sends before it waits for answers
    #[arg(long, value_name = "N", default_value = "1", value_parser = number!(u32).range(1..=10_000))]
    pipeline: u32,
    /// Different keys
    #[arg(long, value_name = "N", default_value = "10000", value_parser = number!(u64).range(1..=1_000_000_000))]
    keys: u64,
    /// Bytes of a value, or LEAST-MOST for all sizes between
    #[arg(long, value_name = "BYTES", default_value = "100")]
    value_size: Sizes,
    /// How many sets for how many gets
    #[arg(long, value_name = "SET:GET", default_value = "1:9")]
    ratio: Ratio,
    /// How often each key is chosen: uniform or zipf:THETA
    #[arg(long, value_name = "NAME", default_value = "uniform")]
    distribution: Distribution,
    /// Keys that a get asks for
    #[arg(long, value_name = "N", default_value = "1", value_parser = number!(u32).range(1..=100))]
    keys_per_get: u32,
    /// Requests per second of all connections, sent whether or not answers come late; a latency is
    /// then counted from the time at which its request was due
    #[arg(long, value_name = "N", value_parser = number!(u64).range(1..=100_000_000))]
    rate: Option<u64>,
    /// End after so many requests
    #[arg(long, value_name = "N", value_parser = number!(u64).range(1..))]
    requests: Option<u64>,
    /// End after so long; 10 when neither this nor --requests is given
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    duration: Option<Duration>,
    /// Set each key once before
    #[arg(long)]
    fill: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Load {
    fn duration(&self) -> Option<Duration> {
        self.duration.or_else(|| self.requests.is_none().then_some(DEFAULT_DURATION))
    }

    fn memory(&self) -> u64 {
        let answer = u64::from(self.keys_per_get.max(1)) * 64 + self.value_size.most as u64;
        u64::from(self.connections) * (u64::from(self.pipeline) + 1) * answer
    }
}

/// So many sets for so many gets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ratio {
    sets: u64,
    gets: u64,
}

impl FromStr for Ratio {
    type Err = String;

    fn from_str(text: &str) -> Result<Ratio, String> {
        let parse = |text: &str| text.parse::<u32>().ok().map(u64::from);
        let pair = text.split_once(':').and_then(|(sets, gets)| Some((parse(sets)?, parse(gets)?)));
        match pair {
            Some((sets, gets)) if sets + gets > 0 => Ok(Ratio { sets, gets }),
            _ => Err(String::from("write two numbers, such as 1:9, not both 0")),
        }
    }
}

/// Fills when asked to, measures, and reports.
pub(crate) fn bench(servers: &[Server], load: &Load) -> Outcome {
    let [server] = servers else {
        return (String::new(), String::from("pairctl: bench takes one node\n"), USAGE);
    };
    if load.memory() > MOST_MEMORY {
        let text = "pairctl: connections x pipeline x value size is more than 2 GiB\n";
        return (String::new(), String::from(text), USAGE);
    }
    let mut phases = vec![false];
    if load.fill {
        phases.insert(0, true);
    }
    let (mut output, mut errors, mut code) = (String::new(), String::new(), 0);
    for fill in phases {
        let totals = match run(server, load, fill) {
            Ok(totals) => totals,
            Err(error) => return (output, format!("pairctl: cannot start: {error}\n"), 1),
        };
        if !fill {
            output = if load.json { totals.json() } else { totals.human() };
        }
        if let Some(reason) = &totals.reason {
            let what = if fill { "filling " } else { "" };
            let count = totals.errors;
            errors = format!("pairctl: {what}{server}: {count} errors, the first: {reason}\n");
            code = 1;
            if fill {
                break;
            }
        }
    }
    (output, errors, code)
}

/// All threads, from their connections to the sum of their counts.
fn run(server: &Server, load: &Load, fill: bool) -> io::Result<Totals> {
    let job = Arc::new(Job {
        load: load.clone(),
        fill,
        chooser: Chooser::new(load.distribution, load.keys),
        values: Values::new(load.value_size),
        done: AtomicU64::new(0),
    });
    let mut workers = Vec::new();
    for _ in 0..load.threads.min(load.connections) {
        let totals = Totals::new().map_err(io::Error::other)?;
        workers.push((Builder::new_current_thread().enable_all().build()?, totals));
    }
    let (threads, (sender, receiver)) = (workers.len(), channel());
    let barrier = Barrier::new(threads);
    let mut sum = Totals::new().map_err(io::Error::other)?;
    thread::scope(|scope| {
        for (first, (runtime, totals)) in workers.into_iter().enumerate() {
            let (job, barrier, sender) = (&job, &barrier, sender.clone());
            let numbers = (first as u64..u64::from(load.connections)).step_by(threads);
            scope.spawn(move || work(&runtime, server, job, numbers, totals, barrier, &sender));
        }
        drop(sender);
        let bar = progress(load, fill);
        loop {
            match receiver.recv_timeout(PROGRESS_STEP) {
                Ok(totals) => sum.add(totals),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => bar.look(job.done.load(Ordering::Relaxed)),
            }
        }
        bar.bar.finish_and_clear();
    });
    Ok(sum)
}

/// One thread's share of the connections.
fn work(
    runtime: &Runtime,
    server: &Server,
    job: &Arc<Job>,
    numbers: impl Iterator<Item = u64>,
    totals: Totals,
    barrier: &Barrier,
    sender: &Sender<Totals>,
) {
    let totals = Rc::new(RefCell::new(totals));
    let local = LocalSet::new();
    local.block_on(runtime, async {
        let mut streams = Vec::new();
        for number in numbers {
            match connect(server).await {
                Ok(stream) => streams.push((number, stream)),
                Err(error) => {
                    totals.borrow_mut().fail(|| format!("cannot connect: {error}"));
                    // The others would most likely not fare better, and each may take its time.
                    break;
                }
            }
        }
        // All threads begin at once, and none while another still connects.
        barrier.wait();
        let start = Instant::now();
        let tasks: Vec<_> = streams
            .into_iter()
            .map(|(number, stream)| {
                let connection = Connection::new(job.clone(), number, totals.clone());
                tokio::task::spawn_local(connection.run(stream, start))
            })
            .collect();
        for task in tasks {
            if let Err(error) = task.await {
                totals.borrow_mut().fail(|| error.to_string());
            }
        }
        totals.borrow_mut().elapsed = start.elapsed();
    });
    drop(local);
    if let Some(totals) = Rc::into_inner(totals) {
        // Who waits for it outlives all threads.
        let _ = sender.send(totals.into_inner());
    }
}

/// A bar that counts requests, or time where their number is not known.
struct Progress {
    bar: ProgressBar,
    clock: Option<Instant>,
}

/// On a terminal only: elsewhere indicatif draws nothing.
fn progress(load: &Load, fill: bool) -> Progress {
    let requests = if fill { Some(load.keys) } else { load.requests };
    let milliseconds = load.duration().unwrap_or_default().as_millis() as u64;
    let clock = requests.is_none().then(Instant::now);
    Progress { bar: ProgressBar::new(requests.unwrap_or(milliseconds)), clock }
}

impl Progress {
    fn look(&self, done: u64) {
        let elapsed = self.clock.map(|clock| clock.elapsed().as_millis() as u64);
        self.bar.set_position(elapsed.unwrap_or(done));
    }
}
