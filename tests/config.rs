//! Golden files: `tests/config/NN-name` holds `sysconfig`, `toml` and `args`, each optional, and in
//! `expected` what `--check-config` says of them. Run with `BLESS=1` to write `expected` anew, then
//! read the difference.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use paircached::config::{Action, Config, Exit, Peer, Port, load};

fn words(words: &[&str]) -> Vec<OsString> {
    ["paircached"].iter().chain(words).map(OsString::from).collect()
}

/// Loads with `--sysconfig` and `--config` naming nothing, so that this machine's files don't count.
fn alone(line: &[&str]) -> Result<Action, Exit> {
    let mut all = vec!["--sysconfig=-/nonexistent", "--config=-/nonexistent"];
    all.extend(line);
    load(words(&all))
}

fn run(line: &[&str]) -> Config {
    match alone(line) {
        Ok(Action::Run(config)) => *config,
        other => panic!("{line:?} does not run: {other:?}"),
    }
}

fn exit(line: &[&str]) -> (String, u8) {
    match alone(line) {
        Err(exit) => (exit.stderr, exit.code),
        other => panic!("{line:?} is accepted: {other:?}"),
    }
}

fn print(line: &[&str]) -> String {
    match alone(line) {
        Ok(Action::Print(text)) => text,
        other => panic!("{line:?} does not print: {other:?}"),
    }
}

fn cases() -> Vec<PathBuf> {
    let mut cases: Vec<PathBuf> = fs::read_dir("tests/config")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    cases.sort();
    cases
}

/// What the case prints, with paths relative to it; without the defaults, which case 01 has.
fn outcome(case: &Path) -> String {
    let dir = case.to_str().unwrap();
    let args = fs::read_to_string(case.join("args")).unwrap_or_default().replace("{dir}", dir);
    let (sysconfig, toml) =
        (format!("--sysconfig=-{dir}/sysconfig"), format!("--config=-{dir}/toml"));
    let mut line = vec!["--check-config"];
    if !args.contains("--sysconfig") {
        line.push(&sysconfig);
    }
    if !args.contains("--config") {
        line.push(&toml);
    }
    line.extend(args.split_whitespace());
    let (stdout, stderr, code) = match load(words(&line)) {
        Ok(Action::Print(text)) => (text, String::new(), 0),
        Ok(Action::Run(_)) => panic!("{dir}: runs although it should check"),
        Err(exit) => (exit.stdout, exit.stderr, exit.code),
    };
    let all = dir.contains("/01-");
    let mut text = String::new();
    let of_interest = |line: &&str| !line.ends_with("# default") && !line.starts_with("advice: ");
    for line in stdout.lines().filter(|line| all || of_interest(line)) {
        // The columns depend on lines that are left out.
        text += &match line.split_once("  # ") {
            Some((setting, source)) if !all => format!("{}  # {source}\n", setting.trim_end()),
            _ => format!("{line}\n"),
        };
    }
    for line in stderr.lines() {
        text += &format!("stderr: {line}\n");
    }
    text += &format!("exit {code}\n");
    text.replace(&format!("{dir}/"), "").replace(dir, "DIRECTORY")
}

#[test]
fn every_case_says_what_is_expected() {
    let bless = std::env::var_os("BLESS").is_some();
    let mut wrong = Vec::new();
    let cases = cases();
    assert!(cases.len() >= 50, "only {} cases found", cases.len());
    for case in cases {
        let (expected, actual) = (case.join("expected"), outcome(&case));
        if bless {
            fs::write(&expected, actual).unwrap();
        } else if fs::read_to_string(&expected).unwrap_or_default() != actual {
            wrong.push(format!("{}:\n{actual}", case.display()));
        }
    }
    assert!(wrong.is_empty(), "not as expected:\n{}", wrong.join("\n"));
}

#[test]
fn without_words_everything_is_memcacheds_default() {
    let config = run(&[]);
    assert_eq!(config.tcp_port, Port::Number(11211));
    assert_eq!(config.memory, 64 << 20);
    assert_eq!((config.max_connections, config.threads, config.backlog), (1024, 4, 1024));
    assert_eq!((config.item_size_max, config.requests_per_event), (1 << 20, 20));
    assert!(config.evictions && config.cas && config.flush_enabled && config.dump_enabled);
    assert!(!config.detach && !config.shutdown_command && config.replication.is_none());
    assert!(config.warnings.is_empty());
}

#[test]
fn repcacheds_own_lines_make_a_pair() {
    let line = "-d -m 2048 -p 11211 -u root -c 2048 -x 172.18.200.106 -X 16000";
    let config = run(&line.split(' ').collect::<Vec<_>>());
    let replication = config.replication.unwrap();
    assert_eq!(replication.peer, Peer { host: "172.18.200.106".into(), port: 16000 });
    assert_eq!(replication.port, 16000);
    assert!(config.detach && config.repcached_flags && config.dump_enabled);
    assert_eq!((config.memory, config.max_connections), (2048 << 20, 2048));
    assert_eq!(config.user.as_deref(), Some("root"));
}

#[test]
fn a_peer_alone_is_reached_on_repcacheds_port() {
    let replication = run(&["-x", "192.0.2.2"]).replication.unwrap();
    assert_eq!((replication.port, replication.peer.port), (11212, 11212));
    assert_eq!(replication.max_clock_skew, Duration::from_secs(60));
}

#[test]
fn listen_and_connect_port_may_differ() {
    let replication = run(&["-x", "localhost", "-X", "16000:16001"]).replication.unwrap();
    assert_eq!((replication.port, replication.peer.port), (16000, 16001));
}

#[test]
fn a_faulty_command_line_gets_memcacheds_message_and_exit_code() {
    let cases: &[(&[&str], &str, u8)] = &[
        (&["-p", "70000"], "ERROR: Invalid port number 70000.\n", 64),
        (&["-U", "70000"], "ERROR: Invalid port number 70000.\n", 64),
        (&["-c", "0"], "Maximum connections must be greater than 0\n", 1),
        (&["-c", "abc"], "Maximum connections must be greater than 0\n", 1),
        (&["-c", "3000000000"], "Maximum connections must be greater than 0\n", 1),
        (&["-t", "0"], "Number of threads must be greater than 0\n", 1),
        (&["-R", "-1"], "Number of requests per event must be greater than 0\n", 1),
        (&["-f", "1"], "Factor must be greater than 1\n", 1),
        (&["-f", "nan"], "Factor must be greater than 1\n", 1),
        (&["-n", "0"], "Chunk size must be greater than 0\n", 1),
        (&["-I", "10"], "Item max size cannot be less than 1024 bytes.\n", 64),
        (&["-I", "40m"], "Cannot set item size limit higher than 1/2 of memory max.\n", 64),
        (
            &["-m", "9999", "-I", "2000m"],
            "Cannot set item size limit higher than a gigabyte.\n",
            64,
        ),
        (
            &["-I", "1500k"],
            "-I (item_size_max: 1536000) must be evenly divisible by slab_chunk_max (bytes: 524288)\n",
            64,
        ),
        (
            &["-I", "100k"],
            "slab_chunk_max (bytes: 524288) cannot be larger than -I (item_size_max 102400)\n",
            64,
        ),
        (
            &["-B", "foo"],
            "Invalid value for binding protocol: foo\n -- should be one of auto, binary, or ascii\n",
            64,
        ),
        (&["-D", ""], "No delimiter specified\n", 1),
        (
            &["-S", "-B", "auto"],
            "ERROR: You cannot allow the ASCII protocol while using SASL.\n",
            64,
        ),
        (
            &["-S", "-U", "1"],
            "ERROR: Cannot enable UDP while using binary SASL authentication.\n",
            64,
        ),
        (
            &["-Y", "f", "-B", "binary"],
            "ERROR: You cannot allow the BINARY protocol while using ascii authentication tokens.\n",
            64,
        ),
        (
            &["-Y", "f", "-U", "1"],
            "Cannot use UDP with ascii authentication enabled (-U 0 to disable)\n",
            64,
        ),
        (&["-Z", "-p", "0"], "ERROR: You cannot enable SSL without a TCP port.\n", 64),
        (&["-Z"], "Error loading the certificate chain: (null) : ssl_chain_cert is not set\n", 64),
        (
            &["-Z", "-o", "ssl_chain_cert=c"],
            "Error loading the key: (null) : ssl_key is not set\n",
            64,
        ),
        (&["-o", "ssl_key"], "Missing ssl_key argument\n", 1),
        (&["-o", "ssl_keyformat=pem"], "could not parse argument to ssl_keyformat\n", 1),
        (&["-o", "ssl_verify_mode=x"], "could not parse argument to ssl_verify_mode\n", 1),
        (&["-o", "ssl_wbuf_size=-1"], "could not parse argument to ssl_wbuf_size\n", 1),
        (
            &["-o", "ssl_verify_mode=4"],
            "Invalid ssl_verify_mode. Use help to see valid options.\n",
            1,
        ),
        (
            &["-o", "ssl_min_version=-1"],
            "Invalid ssl_min_version. Use help to see valid options.\n",
            1,
        ),
        (
            &["-Z", "-o", "ssl_chain_cert=c,ssl_key=k,ssl_verify_mode=2"],
            "ssl_verify_mode asks for certificates of clients without ssl_ca_cert\n",
            64,
        ),
        (
            &["-Z", "-l", "mtls:::1", "-o", "ssl_chain_cert=c,ssl_key=k"],
            "mtls:::1 asks for certificates of clients without ssl_ca_cert\n",
            64,
        ),
        (&["-o", "ext_path=f:1g"], "ext_path asks for extstore, which is not supported\n", 64),
        (&["-o", "slab_sizes"], "Missing slab_sizes argument\n", 1),
        (&["-o", "slab_chunk_max=x"], "could not parse argument to slab_chunk_max\n", 1),
        (&["-q"], "paircached: invalid option -- 'q'\nIllegal argument \"?\"\n", 1),
    ];
    for (line, stderr, code) in cases {
        assert_eq!(exit(line), (String::from(*stderr), *code), "{line:?}");
    }
}

#[test]
fn an_unknown_suboption_is_told_on_standard_output() {
    for (list, word) in
        [("foo", "foo"), ("modern,foo=3", "foo=3"), (",", ""), ("proxy_config", "proxy_config")]
    {
        let exit = alone(&["-o", list]).unwrap_err();
        let stdout = format!("Illegal suboption \"{word}\"\n");
        assert_eq!((exit.stdout, exit.stderr, exit.code), (stdout, String::new(), 1), "{list}");
    }
}

#[test]
fn suboptions_count_in_the_order_given() {
    let both = |line: &[&str]| {
        let config = run(line);
        (config.maxconns_fast, config.idle_timeout)
    };
    assert_eq!(both(&[]), (true, 0));
    assert_eq!(both(&["-o", "no_maxconns_fast,idle_timeout=5,"]), (false, 5));
    assert_eq!(both(&["-o", "no_maxconns_fast", "-o", "maxconns_fast"]), (true, 0));
    assert_eq!(both(&["-o", "no_modern"]), (false, 0));
    assert_eq!(both(&["-o", "idle_timeout=9", "-o", "idle_timeout=-1"]), (true, 0));
    assert_eq!(both(&["-o", "idle_timeout=99999999999"]), (true, i32::MAX as u32));
    assert!(run(&["-o", "idle_timeout=5,no_maxconns_fast"]).no_effect.is_empty());
    assert_eq!(run(&["-N", "2", "-o", "no_modern,no_hashexpand"]).no_effect.len(), 3);
}

#[test]
fn what_is_watched_and_counted_is_configured() {
    let config =
        run(&["-W", "-D", "|/", "-o", "watcher_logbuf_size=1,worker_logbuf_size=2,track_sizes"]);
    assert!(!config.watch_enabled && config.track_sizes && config.detail_enabled);
    assert_eq!((config.watcher_buffer, config.worker_buffer), (1 << 10, 2 << 10));
    assert_eq!(config.prefix_delimiter, b'|');
    assert!(config.no_effect.is_empty());
    let config = run(&[]);
    assert!(config.watch_enabled && !config.track_sizes && !config.detail_enabled);
    assert_eq!((config.watcher_buffer, config.worker_buffer), (256 << 10, 64 << 10));
    assert_eq!(config.prefix_delimiter, b':');
}

#[test]
fn sizes_at_the_edge_are_accepted() {
    assert_eq!(run(&["-I", "1536k"]).item_size_max, 1536 << 10);
    assert_eq!(run(&["-m", "2"]).memory, 2 << 20);
    assert_eq!(run(&["-m", "1024m"]).memory, 1024 << 20);
    assert_eq!(run(&["-m", "4096", "-I", "1024m"]).item_size_max, 1 << 30);
    assert_eq!(run(&["-c", "2147483647"]).max_connections, i32::MAX as u32);
    assert_eq!(run(&["-p", "65535"]).tcp_port, Port::Number(65535));
    assert_eq!(run(&["-p-1"]).tcp_port, Port::Ephemeral);
    assert_eq!(run(&["-p", "0", "-s", "/x"]).tcp_port, Port::Off);
}

#[test]
fn nonsense_memory_is_named_and_never_overflows() {
    for text in ["0", "abc", "-5", "", "17592186044416", "99999999999999999999999", "m1"] {
        let (stderr, code) = exit(&["-m", text]);
        assert_eq!(code, 64, "{text}");
        assert!(stderr.contains("emory limit") || stderr.contains("-m is empty"), "{stderr}");
    }
}

#[test]
fn a_listen_address_that_cannot_be_one_is_refused() {
    let list = [
        "127.0.0.1:abc",
        "300.1.1.1",
        "a b",
        "[::1",
        "[::1]x",
        "1:2:3",
        "h:99999",
        "tag[]:h",
        "notls:h",
        "",
    ];
    for address in list {
        let (stderr, code) = exit(&["-l", address]);
        assert!(code == 71 || address.is_empty(), "{address}: {stderr}");
    }
    assert_eq!(run(&["-l", "127.0.0.1,,::1,"]).listen.len(), 2);
}

#[test]
fn a_file_needs_a_name() {
    for option in ["--config=", "--sysconfig=-"] {
        let exit = load(words(&[option])).unwrap_err();
        assert_eq!((exit.code, exit.stderr.contains("is empty")), (64, true), "{option}");
    }
}

#[test]
fn help_version_and_licence_are_printed() {
    let help = print(&["-h"]);
    assert!(help.starts_with("paircached "), "{help}");
    assert!(help.contains("memcached 1.6.45") && help.contains("-p, --port=<num>"));
    // What upstream's tests and wrappers take for features this build would have.
    for absent in ["ext_path", "proxy_config", "no_drop_privileges"] {
        assert!(!help.to_lowercase().contains(absent), "{absent}");
    }
    let version = format!("memcached 1.6.45\npaircached {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(print(&["-V"]), version);
    assert!(print(&["-i"]).starts_with("MIT License"));
}

#[test]
fn faults_of_files_stop_the_start_as_they_fail_the_check() {
    let file = "--sysconfig=tests/config/15-bad-number/sysconfig";
    let start = load(words(&[file, "--config=-/nonexistent"])).unwrap_err();
    let check = load(words(&[file, "--config=-/nonexistent", "--check-config"])).unwrap_err();
    assert_eq!(start, check);
    assert_eq!(start.code, 78);
}

#[test]
fn passwords_choose_the_protocol_and_their_file_is_checked() {
    let dir = tempfile::tempdir().unwrap();
    let users = dir.path().join("users");
    fs::write(&users, "user:hidden\n").unwrap();
    let toml = dir.path().join("toml");
    fs::write(&toml, format!("[auth]\nsasl = true\nsasl_file = {users:?}\n")).unwrap();
    let toml = format!("--config={}", toml.display());
    for mode in [0o640, 0o644] {
        fs::set_permissions(&users, PermissionsExt::from_mode(mode)).unwrap();
        let shown = print(&["--check-config", "-Y", users.to_str().unwrap()]);
        assert!(shown.contains("protocol = ascii  "), "{shown}");
        assert_eq!(shown.contains("every user of this host can read it"), mode == 0o644);
        let shown = print(&["--check-config", &toml]);
        assert!(shown.contains("protocol = binary  ") && !shown.contains("hidden"), "{shown}");
    }
    fs::write(&users, "hidden".repeat(50)).unwrap();
    let (stderr, code) = exit(&["--check-config", &toml]);
    assert!(stderr.contains(":3: line 1 of ") && !stderr.contains("hidden"), "{stderr}");
    assert_eq!(code, 78);
}

#[test]
fn reload_reads_the_same_files_again() {
    let dir = tempfile::tempdir().unwrap();
    let (file, toml) = (dir.path().join("sysconfig"), dir.path().join("toml"));
    fs::write(&file, "CACHESIZE=128\n").unwrap();
    let option = format!("--sysconfig={}", file.display());
    let config = format!("--config=-{}", toml.display());
    let Ok(Action::Run(first)) = load(words(&[&option, &config, "-t", "3"])) else {
        panic!("does not run");
    };
    fs::write(&file, "CACHESIZE=256\n").unwrap();
    fs::write(&toml, "[log]\nlevel = \"debug\"\n").unwrap();
    let second = first.reload().unwrap();
    assert_eq!((first.memory, second.memory), (128 << 20, 256 << 20));
    assert_eq!((second.threads, second.log.level), (3, log::LevelFilter::Debug));
    fs::write(&file, "CACHESIZE=none\n").unwrap();
    let exit = second.reload().unwrap_err();
    assert_eq!(exit.code, 78);
    assert!(exit.stderr.contains("sysconfig:1: CACHESIZE=\"none\""), "{}", exit.stderr);
}

/// All options in a text, such as `-p` and `--port`, without what follows them.
fn options(words: impl Iterator<Item = String>) -> BTreeSet<String> {
    words
        .filter(|word| word.starts_with('-'))
        .map(|word| word.split(['=', ',', ' ']).next().unwrap().to_owned())
        .collect()
}

#[test]
fn the_manual_has_every_option_of_the_help_and_no_other() {
    let help = print(&["-h"]);
    let column = |line: &str| line.chars().take(30).collect::<String>();
    let shown =
        options(help.lines().flat_map(|line| {
            column(line).split_whitespace().map(String::from).collect::<Vec<_>>()
        }));
    let page = fs::read_to_string("docs/man/paircached.8").unwrap();
    let items = page.lines().filter_map(|line| line.strip_prefix(".It Fl "));
    let explained = options(items.flat_map(|item| {
        let item = item.split(" Ns ").next().unwrap_or_default();
        item.split(" , Fl ").map(|name| format!("-{name}")).collect::<Vec<_>>()
    }));
    assert!(shown.len() > 60, "{shown:?}");
    assert_eq!(shown, explained);
}

#[test]
fn the_advice_on_memory_leaves_room_for_what_is_configured() {
    let advised = |words: &str| {
        let words = format!("--check-config {words}");
        let text = print(&words.split_whitespace().collect::<Vec<_>>());
        let (_, advice) = text.split_once("advice: MemoryMax=").unwrap();
        advice.split_once('M').unwrap().0.parse::<u64>().unwrap()
    };
    let least = advised("");
    assert!((64 + 32..64 * 3).contains(&least), "{least}");
    assert!(advised("-m 10240") > least + 10_176);
    assert!(advised("-c 20000") > least + 200);
    assert!(advised("-I 32m") > least + 30);
    assert!(advised("-x 192.0.2.2") >= least + 8);
}

#[test]
fn the_manual_has_every_key_of_the_toml_and_no_other() {
    let settings = print(&["--check-config"]);
    let names = settings.lines().filter_map(|line| line.split_once(" = ")).map(|(name, _)| name);
    let shown: BTreeSet<String> =
        names.filter(|name| name.contains('.')).map(String::from).collect();
    let page = fs::read_to_string("docs/man/paircached.toml.5").unwrap();
    let mut explained = BTreeSet::new();
    let mut section = String::new();
    for line in page.lines() {
        if let Some(title) = line.strip_prefix(".Sh ") {
            section = title.to_lowercase();
        } else if let Some(key) = line.strip_prefix(".It Ic ") {
            explained.insert(format!("{section}.{key}"));
        }
    }
    assert!(shown.len() >= 12, "{shown:?}");
    assert_eq!(shown, explained);
}

#[test]
fn a_secret_is_read_at_the_start_and_not_again_on_a_reload() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    fs::write(&file, "correct horse battery staple\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let config = run(&["-x", "192.0.2.2", "--secret-file", file.to_str().unwrap()]);
    assert_eq!(config.seal.name(), "secret");
    fs::remove_file(&file).unwrap();
    assert!(config.reload().is_ok());
    fs::write(&file, "short").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let (message, code) = exit(&["-x", "192.0.2.2", "--secret-file", file.to_str().unwrap()]);
    assert!(message.contains("holds 5 bytes, fewer than 16"), "{message}");
    assert_eq!(code, 78);
}
