//! `pairctl` against servers that say what each test wants to hear.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

fn pairctl(words: &[&str]) -> (String, String, i32) {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_pairctl")).args(words).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(stdout), text(stderr), status.code().unwrap())
}

/// Answers each line it is sent with what `answer` makes of it.
fn serve(stream: impl Read + Write, answer: &mut impl FnMut(&str) -> String) {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while stream.read_line(&mut line).unwrap_or(0) > 0 {
        let reply = answer(line.trim_end());
        if stream.get_mut().write_all(reply.as_bytes()).is_err() {
            return;
        }
        line.clear();
    }
}

/// A server's address; it ends with the test's process.
fn server(mut answer: impl FnMut(&str) -> String + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            serve(stream.unwrap(), &mut answer);
        }
    });
    address
}

/// An address where nobody listens, and what keeps others from doing so.
fn nobody() -> (String, Socket) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (address.to_string(), socket)
}

fn node(state: &str, filled: u8) -> impl Fn(&str) -> String + Send + use<> {
    let state = String::from(state);
    move |command| match command {
        "stats" => String::from("STAT curr_items 10000\r\nSTAT version 1.6.45\r\nEND\r\n"),
        "stats replication" => format!(
            "STAT replication_state {state}\r\nSTAT replication_peer 192.0.2.2:11212\r\n\
             STAT replication_lag_ops 7\r\nSTAT replication_filled {filled}\r\nEND\r\n"
        ),
        _ => String::from("ERROR\r\n"),
    }
}

#[test]
fn status_shows_the_nodes_side_by_side() {
    let (one, two) = (server(node("in-sync", 1)), server(node("catching-up", 0)));
    let (stdout, stderr, code) = pairctl(&["-s", &one, "-s", &two, "status"]);
    assert_eq!((stderr.as_str(), code), ("", 0));
    let row = |name: &str| {
        let line = stdout.lines().find(|line| line.starts_with(name)).unwrap();
        line[name.len()..].split_whitespace().map(String::from).collect::<Vec<_>>()
    };
    assert_eq!(row("node"), [one, two]);
    assert_eq!(row("state"), ["in-sync", "catching-up"]);
    assert_eq!(row("filled"), ["yes", "no"]);
    assert_eq!(row("items"), ["10000", "10000"]);
    assert_eq!(row("lag, ms"), ["-", "-"]);
}

/// A node in sync whose digest has two parts; `parts` says what they are at each look.
fn digested(mut parts: impl FnMut(usize) -> [u64; 2] + Send + 'static) -> String {
    let (answer, mut looks) = (node("in-sync", 1), 0);
    server(move |command| {
        if command != "stats replication digest" {
            return answer(command);
        }
        let [one, other] = parts(looks);
        looks += 1;
        format!("STAT digest:0 9 {one:016x}\r\nSTAT digest:1 9 {other:016x}\r\nEND\r\n")
    })
}

#[test]
fn status_compares_two_nodes_in_sync_by_their_digests() {
    let verdict = |one: String, other: String| {
        let (stdout, stderr, code) = pairctl(&["-s", &one, "-s", &other, "status"]);
        assert_eq!((stderr.as_str(), code), ("", 0));
        let sums = stdout.lines().find(|line| line.starts_with("digest of items")).unwrap();
        let sums: Vec<_> = sums.split_whitespace().skip(3).collect();
        (sums[0] == sums[1], stdout.lines().last().unwrap().to_owned())
    };
    let same = verdict(digested(|_| [1, 2]), digested(|_| [1, 2]));
    assert_eq!(same, (true, "both hold the same, by the digests of 2 parts".to_owned()));
    // What was on its way has arrived at the second look.
    let late = verdict(digested(|_| [1, 2]), digested(|look| [u64::from(look > 0), 2]));
    assert_eq!(late, same);
    let (equal, other) = verdict(digested(|_| [1, 2]), digested(|_| [1, 3]));
    assert!(!equal && other.starts_with("1 of 2 parts differ: "), "{other}");
    let (_, busy) = verdict(digested(|_| [1, 2]), digested(|look| [1, 100 + look as u64]));
    let expected =
        "no difference in 1 of 2 parts; 1 were written to all the time and are left open";
    assert_eq!(busy, expected);
}

#[test]
fn status_leaves_the_digests_out_where_they_say_nothing() {
    let away = || server(node("connecting", 1));
    let (one, two, asked) = (digested(|_| [1, 2]), away(), digested(|_| panic!("asked")));
    for words in
        [&["-s", &one, "-s", &two, "status"][..], &["-s", &one, "-s", &asked, "status", "--quick"]]
    {
        let (stdout, _, code) = pairctl(words);
        assert_eq!((code, stdout.contains("digest of items  ")), (0, true));
        assert!(stdout.lines().last().unwrap().starts_with("version"), "{stdout}");
    }
}

#[test]
fn status_of_a_pair_with_one_node_down_still_shows_the_other() {
    let (up, (down, _socket)) = (server(node("connecting", 1)), nobody());
    let (stdout, stderr, code) = pairctl(&["-s", &down, "-s", &up, "status"]);
    assert_eq!(code, 3);
    assert!(stdout.contains("no answer") && stdout.contains("connecting"), "{stdout}");
    assert!(stderr.contains(&format!("cannot connect to {down}")), "{stderr}");
    assert!(stderr.contains("is it started"), "{stderr}");
}

#[test]
fn status_of_a_plain_memcached_says_that_it_is_one() {
    let plain = server(|command| match command {
        "stats" => String::from("STAT curr_items 3\r\nEND\r\n"),
        _ => String::from("ERROR\r\n"),
    });
    let (stdout, stderr, code) = pairctl(&["-s", &plain, "status"]);
    assert_eq!(code, 0);
    assert!(stdout.contains("items") && stderr.contains("is it a paircached"), "{stderr}");
}

#[test]
fn stats_prints_what_the_node_answers() {
    let address = server(|command| match command {
        "stats items" => String::from("STAT items:1:number 2\r\nSTAT evil \x1b[2J\r\nEND\r\n"),
        "stats cachedump 1 2" => String::from("ITEM k [1 b; 0 s]\r\nEND\r\n"),
        "stats reset" => String::from("RESET\r\n"),
        _ => String::from("ERROR\r\n"),
    });
    let stats = |words: &[&str]| pairctl(&[&["-s", &address, "stats"], words].concat());
    assert_eq!(stats(&["items"]).0, "items:1:number 2\nevil ?[2J\n");
    assert_eq!(stats(&["cachedump", "1", "2"]).0, "ITEM k [1 b; 0 s]\n");
    assert_eq!(stats(&["reset"]).0, "RESET\n");
    let (stdout, stderr, code) = stats(&["nonsense"]);
    assert_eq!((stdout.as_str(), code), ("", 3));
    assert!(stderr.contains("answers \"ERROR\" to \"stats nonsense\""), "{stderr}");
}

#[test]
fn a_unix_socket_is_asked_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    thread::spawn(move || serve(listener.accept().unwrap().0, &mut node("in-sync", 1)));
    let (stdout, stderr, code) = pairctl(&["-s", path.to_str().unwrap(), "health"]);
    assert_eq!((stderr.as_str(), code), ("", 0), "{stdout}");
}

#[test]
fn health_follows_state_and_filling() {
    for (state, filled, code, reason) in [
        ("in-sync", 1, 0, "in-sync and filled"),
        ("disabled", 0, 0, "replication disabled"),
        ("in-sync", 0, 1, "not filled yet"),
        ("catching-up", 1, 1, "replication with 192.0.2.2:11212 is catching-up, lag 7 operations"),
        ("connecting", 1, 1, "is connecting"),
        ("refused", 1, 1, "is refused"),
    ] {
        let (stdout, stderr, actual) = pairctl(&["-s", &server(node(state, filled)), "health"]);
        assert_eq!(actual, code, "{state} {filled}");
        assert!([stdout, stderr].concat().contains(reason), "{state} {filled}");
    }
}

#[test]
fn health_of_several_nodes_is_that_of_the_worst() {
    let (good, bad) = (server(node("in-sync", 1)), server(node("refused", 0)));
    assert_eq!(pairctl(&["-s", &good, "-s", &bad, "health"]).2, 1);
    assert_eq!(pairctl(&["-s", &good, "-s", &good, "health"]).2, 0);
}

#[test]
fn health_waits_until_the_node_is_in_sync() {
    let mut asked = 0;
    let address = server(move |command| {
        asked += 1;
        node(if asked < 3 { "catching-up" } else { "in-sync" }, 1)(command)
    });
    assert_eq!(pairctl(&["-s", &address, "health"]).2, 1);
    let (stdout, _, code) = pairctl(&["-s", &address, "health", "--timeout", "60"]);
    assert_eq!(code, 0, "{stdout}");
}

#[test]
fn health_gives_up_on_a_node_that_never_answers() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let start = Instant::now();
    let (_, stderr, code) = pairctl(&["-s", &address, "health", "--timeout", "0.5"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("it took too long"), "{stderr}");
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn health_of_a_node_that_is_down_tells_so() {
    let (address, _socket) = nobody();
    let (_, stderr, code) = pairctl(&["-s", &address, "health"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("cannot connect"), "{stderr}");
}

#[test]
fn a_wrong_command_line_exits_with_2() {
    for words in [&["explode"][..], &["-s", "h:x", "status"], &["stats", "a\r\nflush_all"], &[]] {
        assert_eq!(pairctl(words).2, 2, "{words:?}");
    }
}

#[test]
fn its_version_is_under_its_own_name() {
    assert_eq!(pairctl(&["--version"]).0, format!("pairctl {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn the_manual_has_every_option_and_command() {
    let page = std::fs::read_to_string("docs/man/pairctl.1").unwrap();
    let mut help = pairctl(&["--help"]).0;
    for command in
        ["status", "health", "bench", "keys", "dump", "load", "completions", "verify", "handover"]
    {
        help += &pairctl(&[command, "--help"]).0;
    }
    for word in help.split_whitespace().filter(|word| word.starts_with("--")) {
        let long = format!("Fl -{}", word.trim_start_matches('-').trim_end_matches(','));
        assert!(page.contains(&long), "{word}");
    }
    for command in [
        "status", "stats", "display", "settings", "sizes", "keys", "dump", "load", "health",
        "bench", "verify", "handover",
    ] {
        assert!(
            help.contains(&format!("  {command}")) && page.contains(&format!(".It Cm {command}"))
        );
    }
}

/// The daemon on a Unix socket, until it is dropped.
struct Daemon {
    process: Child,
    dir: tempfile::TempDir,
}

impl Daemon {
    fn start() -> Daemon {
        let dir = tempfile::tempdir().unwrap();
        // Started by root it becomes nobody, who must be let in.
        fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_paircached"))
            .args(["--sysconfig=-/nonexistent", "--config=-/nonexistent", "-u", "nobody", "-s"])
            .arg(dir.path().join("socket"))
            .spawn()
            .unwrap();
        let daemon = Daemon { process, dir };
        let deadline = Instant::now() + Duration::from_secs(30);
        while UnixStream::connect(daemon.socket()).is_err() {
            assert!(Instant::now() < deadline, "it does not start");
            thread::yield_now();
        }
        daemon
    }

    fn socket(&self) -> String {
        String::from(self.dir.path().join("socket").to_str().unwrap())
    }

    fn bench(&self, words: &[&str]) -> (String, String, i32) {
        pairctl(&[&["-s", &self.socket(), "bench"], words].concat())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = (self.process.kill(), self.process.wait());
    }
}

/// A number of the printed object.
fn field(json: &str, name: &str) -> f64 {
    let at = json.find(&format!("\"{name}\":")).unwrap() + name.len() + 3;
    json[at..].split([',', '}']).next().unwrap().parse().unwrap()
}

#[test]
fn bench_does_the_same_in_every_protocol() {
    for protocol in ["text", "meta", "binary"] {
        let daemon = Daemon::start();
        let words = "--json --requests 300 --keys 50 --connections 3 --pipeline 5 --value-size 0-5000 \
                     --keys-per-get 3";
        let words: Vec<&str> = words.split_whitespace().collect();
        let words = [&words[..], &["--protocol", protocol]].concat();
        let (json, stderr, code) = daemon.bench(&[&words[..], &["--ratio", "0:1"]].concat());
        assert_eq!((stderr.as_str(), code), ("", 0), "{protocol}: {json}");
        assert_eq!((field(&json, "misses"), field(&json, "hits")), (900.0, 0.0), "{protocol}");
        let (json, stderr, code) = daemon.bench(&[&words[..], &["--fill"]].concat());
        assert_eq!((stderr.as_str(), code), ("", 0), "{protocol}: {json}");
        assert_eq!(field(&json, "hits"), 3.0 * field(&json, "gets"), "{protocol}");
        assert_eq!((field(&json, "wrong_values"), field(&json, "misses")), (0.0, 0.0));
        assert!(field(&json, "sets") > 0.0, "{protocol}: {json}");
    }
}

#[test]
fn bench_tells_who_speaks_another_protocol() {
    let text = server(|_| String::from("ERROR\r\n"));
    let words = ["--protocol", "meta", "--json", "--requests", "5", "--connections", "1"];
    let (json, stderr, code) = pairctl(&[&["-s", &text, "bench"], &words[..]].concat());
    assert_eq!(code, 1, "{json}");
    assert!(stderr.contains("it answers \"ERROR\""), "{stderr}");
}

#[test]
fn bench_counts_what_it_did() {
    let daemon = Daemon::start();
    let words = "--json --requests 1001 --keys 50 --connections 7 --threads 2 --pipeline 5 \
                 --value-size 0-5000 --keys-per-get 3 --ratio 1:4 --distribution zipf:1.1";
    let words: Vec<&str> = words.split_whitespace().collect();
    let (json, stderr, code) = daemon.bench(&[&words[..], &["--fill"]].concat());
    assert_eq!((stderr.as_str(), code), ("", 0), "{json}");
    let number = |name| field(&json, name);
    assert_eq!(number("requests"), 1001.0);
    assert_eq!(number("sets") + number("gets"), 1001.0);
    assert!((100.0..300.0).contains(&number("sets")), "{json}");
    assert_eq!((number("hits"), number("misses")), (3.0 * number("gets"), 0.0));
    assert_eq!((number("errors"), number("wrong_values")), (0.0, 0.0));
    assert!(number("p50") > 0.0 && number("p50") <= number("p99"), "{json}");
    assert!(number("p99") <= number("p99.9") && number("p99.9") <= number("max"), "{json}");
    // The daemon has counted the same, and the 50 sets of --fill.
    let stats = pairctl(&["-s", &daemon.socket(), "stats"]).0;
    let shows = |name: &str, value: f64| {
        stats.lines().any(|line| line.split_whitespace().eq([name, &value.to_string()]))
    };
    assert!(shows("get_hits", number("hits")), "{stats}");
    assert!(shows("cmd_set", number("sets") + 50.0), "{stats}");
}

#[test]
fn bench_keeps_to_a_rate_and_counts_misses() {
    let daemon = Daemon::start();
    let (json, stderr, code) = daemon.bench(&[
        "--json",
        "--rate",
        "1000",
        "--requests",
        "300",
        "--ratio",
        "0:1",
        "--connections",
        "3",
    ]);
    assert_eq!((stderr.as_str(), code), ("", 0), "{json}");
    assert_eq!((field(&json, "gets"), field(&json, "misses")), (300.0, 300.0));
    assert!(field(&json, "seconds") >= 0.299, "{json}");
}

#[test]
fn bench_ends_after_the_time_it_is_given() {
    let daemon = Daemon::start();
    let (text, stderr, code) = daemon.bench(&["--duration", "0.2", "--connections", "2"]);
    assert_eq!((stderr.as_str(), code), ("", 0), "{text}");
    assert!(text.starts_with("requests ") && text.contains("p99.9"), "{text}");
}

#[test]
fn bench_tells_a_value_that_is_not_the_keys() {
    let daemon = Daemon::start();
    let mut stream = UnixStream::connect(daemon.socket()).unwrap();
    stream.write_all(b"set key:000000000000 0 0 3 noreply\r\nbad\r\nversion\r\n").unwrap();
    BufReader::new(&stream).read_line(&mut String::new()).unwrap();
    let words = ["--json", "--keys", "1", "--ratio", "0:1", "--requests", "9"];
    let (json, stderr, code) = daemon.bench(&[&words[..], &["--value-size", "3"]].concat());
    assert_eq!(code, 1);
    assert_eq!((field(&json, "wrong_values"), field(&json, "errors")), (9.0, 9.0));
    assert!(stderr.contains("9 errors, the first: key 0 has a value"), "{stderr}");
}

#[test]
fn bench_counts_errors_and_exits_with_1() {
    let full = server(|line| match line.starts_with("set ") {
        true => String::from("SERVER_ERROR out of memory storing object\r\n"),
        false => String::new(), // the value
    });
    let words = ["--json", "--ratio", "1:0", "--requests", "5", "--connections", "1"];
    let (json, stderr, code) = pairctl(&[&["-s", &full, "bench"], &words[..]].concat());
    assert_eq!((field(&json, "errors"), field(&json, "sets"), code), (5.0, 5.0, 1), "{json}");
    assert!(stderr.contains("it answers \"SERVER_ERROR out of memory"), "{stderr}");
}

#[test]
fn bench_of_a_server_that_is_gone_exits_with_1() {
    let (address, _socket) = nobody();
    for words in [&["--requests", "5"][..], &["--fill"]] {
        let (_, stderr, code) = pairctl(&[&["-s", &address, "bench"], words].concat());
        assert_eq!(code, 1);
        assert!(stderr.contains("cannot connect"), "{stderr}");
    }
    // One that hangs up after the first request has an error for each connection.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = stream.unwrap().read(&mut [0]);
        }
    });
    let words = ["bench", "--json", "--connections", "3", "--requests", "99"];
    let (json, _, code) = pairctl(&[&["-s", &address], &words[..]].concat());
    assert_eq!((field(&json, "errors"), field(&json, "requests"), code), (3.0, 0.0, 1), "{json}");
}

#[test]
fn bench_refuses_what_cannot_be_meant() {
    for words in [
        &["--ratio", "0:0"][..],
        &["--value-size", "9-1"],
        &["--distribution", "zipf"],
        &["--connections", "0"],
        &["--value-size", "67108864", "--pipeline", "100"],
    ] {
        assert_eq!(pairctl(&[&["bench"], words].concat()).2, 2, "{words:?}");
    }
    assert_eq!(pairctl(&["-s", "a", "-s", "b", "bench"]).2, 2);
}
