"""Starts that must fail, with memcached's exit codes and words, and questions answered without a start."""

import os
import socket
import stat

import pytest

from . import daemon

USAGE, NO_USER, OS_ERROR = 64, 67, 71
# On a port of their own, in case they start after all.
HARMLESS = ("-l", "127.0.0.1", "-p", "-1")
ILLEGAL = 'Illegal argument "?"'


def as_root():
    return ["-u", "root"] if os.geteuid() == 0 else []


@pytest.mark.parametrize(
    "args, code, says",
    [
        (["-p", "65536"], USAGE, "ERROR: Invalid port number 65536."),
        (["-p", "99999"], USAGE, "ERROR: Invalid port number 99999."),
        (["-c", "0"], 1, "Maximum connections must be greater than 0"),
        (["-c", "-5"], 1, "Maximum connections must be greater than 0"),
        (["-c", "x"], 1, "Maximum connections must be greater than 0"),
        (["-t", "0"], 1, "Number of threads must be greater than 0"),
        (["-R", "0"], 1, "Number of requests per event must be greater than 0"),
        (["-f", "1"], 1, "Factor must be greater than 1"),
        (["-f", "0.5"], 1, "Factor must be greater than 1"),
        (["-n", "0"], 1, "Chunk size must be greater than 0"),
        (["-I", "1000"], USAGE, "Item max size cannot be less than 1024 bytes."),
        (["-I", "33m"], USAGE, "Cannot set item size limit higher than 1/2 of memory max."),
        (["-m", "4096", "-I", "1025m"], USAGE, "Cannot set item size limit higher than a gigabyte."),
        (["-m", "1", "-I", "1m"], USAGE, "Cannot set item size limit higher than 1/2 of memory max."),
        (
            ["-I", "1500k"],
            USAGE,
            "-I (item_size_max: 1536000) must be evenly divisible by slab_chunk_max (bytes: 524288)",
        ),
        (
            ["-I", "256k"],
            USAGE,
            "slab_chunk_max (bytes: 524288) cannot be larger than -I (item_size_max 262144)",
        ),
        (
            ["-I", "512k", "-o", "no_modern"],
            USAGE,
            "slab_chunk_max (bytes: 1048576) cannot be larger than -I (item_size_max 524288)",
        ),
        (
            ["-o", "slab_chunk_max=1000"],
            USAGE,
            "-I (item_size_max: 1048576) must be evenly divisible by slab_chunk_max (bytes: 1000)",
        ),
        (
            ["-I", "2m", "-o", "slab_chunk_max=2097152"],
            USAGE,
            "slab_chunk_max (bytes: 2097152) must divide evenly into 1048576 (slab_page_size)",
        ),
        (["-m", "0"], USAGE, "Cannot set item size limit higher than 1/2 of memory max."),
        (["-m", "x"], USAGE, "Cannot set item size limit higher than 1/2 of memory max."),
        (["-I", "x"], USAGE, "Item max size cannot be less than 1024 bytes."),
        (["-I", "0"], USAGE, "Item max size cannot be less than 1024 bytes."),
        (["-B", "x"], USAGE, "Invalid value for binding protocol: x"),
        (["-S", "-B", "ascii"], USAGE, "ERROR: You cannot allow the ASCII protocol while using SASL."),
        (["-S", "-B", "auto"], USAGE, "ERROR: You cannot allow the ASCII protocol while using SASL."),
        (["-S", "-U", "11999"], USAGE, "ERROR: Cannot enable UDP while using binary SASL authentication."),
        (["-S"], 1, "Error initializing sasl."),
        (
            ["-Y", "/nonexistent", "-B", "binary"],
            USAGE,
            "ERROR: You cannot allow the BINARY protocol while using ascii authentication tokens.",
        ),
        (
            ["-Y", "/nonexistent", "-B", "auto"],
            USAGE,
            "ERROR: You cannot allow the BINARY protocol while using ascii authentication tokens.",
        ),
        (
            ["-Y", "/nonexistent", "-U", "11999"],
            USAGE,
            "Cannot use UDP with ascii authentication enabled (-U 0 to disable)",
        ),
        (["-N", "x"], 1, "Maximum number of NAPI IDs must be greater than 0"),
        (["-N", "9"], USAGE, "Number of napi_ids(9) cannot be greater than number of threads(4)"),
        (["-D", ""], 1, "No delimiter specified"),
        (["-o", "hashpower"], 1, "Missing numeric argument for hashpower"),
        (["-o", "hashpower=5"], 1, "Initial hashtable multiplier of 5 is too low"),
        (["-o", "hashpower=40"], 1, "Initial hashtable multiplier of 40 is too high"),
        (["-o", "idle_timeout"], 1, "Missing numeric argument for idle_timeout"),
        (["-o", "slab_automove=7"], 1, "slab_automove must be between 0 and 2"),
        (["-o", "slab_automove_ratio"], 1, "Missing slab_automove_ratio argument"),
        (["-o", "slab_automove_ratio=2"], 1, "slab_automove_ratio must be > 0 and < 1"),
        (["-o", "slab_automove_freeratio=x"], 1, "could not parse argument to slab_automove_freeratio"),
        (["-o", "slab_automove_window=1"], 1, "slab_automove_window must be > 2"),
        (["-o", "slab_sizes=9-5"], USAGE, "slab size 9 is out of valid range"),
        (["-o", "tail_repair_time=3"], 1, "Cannot set tail_repair_time to less than 10 seconds"),
        (["-o", "hash_algorithm=x"], 1, "Unknown hash_algorithm option (jenkins, murmur3, xxh3)"),
        (["-o", "lru_crawler_sleep"], 1, "Missing lru_crawler_sleep value"),
        (["-o", "lru_crawler_sleep=-4"], 1, "LRU crawler sleep must be between 0 and 1 second"),
        (["-o", "lru_crawler_tocrawl=x"], 1, "lru_crawler_tocrawl takes a numeric 32bit value"),
        (["-o", "hot_lru_pct=99"], 1, "hot_lru_pct must be > 1 and < 80"),
        (["-o", "warm_lru_pct=0"], 1, "warm_lru_pct must be > 1 and < 80"),
        (["-o", "hot_lru_pct=50"], USAGE, "hot_lru_pct + warm_lru_pct cannot be more than 80% combined"),
        (["-o", "hot_max_factor=0"], 1, "hot_max_factor must be > 0"),
        (["-o", "warm_max_factor=x"], 1, "warm_max_factor must be > 0"),
        (
            ["-o", "no_lru_maintainer,temporary_ttl=5"],
            USAGE,
            "temporary_ttl requires lru_maintainer to be enabled",
        ),
        (["-o", "watcher_logbuf_size=x"], 1, "could not parse argument to watcher_logbuf_size"),
        (["-o", "worker_logbuf_size=x"], 1, "could not parse argument to worker_logbuf_size"),
        (["-o", "read_buf_mem_limit=x"], 1, "could not parse argument to read_buf_mem_limit"),
        (["-o", "modern", "-o", "no_lru_crawler,temporary_ttl"], 1, "Missing temporary_ttl argument"),
        (["--nosuch"], 1, ILLEGAL),
        (["-Q"], 1, ILLEGAL),
        (["-m"], 1, ILLEGAL),
        (["--conn-limit"], 1, ILLEGAL),
        (["--port=99999"], USAGE, "ERROR: Invalid port number 99999."),
        (["--threads", "0"], 1, "Number of threads must be greater than 0"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_bad_option_ends_the_start(binary, args, code, says):
    done = daemon.run(binary, *as_root(), *HARMLESS, *args)
    assert done.returncode == code, done.stderr
    assert says in done.stderr.splitlines()
    assert done.stdout == ""


@pytest.mark.parametrize("option, word", [("foo", "foo"), ("modern,foo=3", "foo=3"), (",", "")])
def test_an_unknown_suboption_ends_the_start(binary, option, word):
    done = daemon.run(binary, *as_root(), *HARMLESS, "-o", option)
    assert done.returncode == 1
    # 1.6.45 says it on standard output, 1.6.18 on standard error.
    assert done.stdout + done.stderr == f'Illegal suboption "{word}"\n'


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may change its user, others ignore -u")
def test_an_unknown_user_ends_the_start(binary):
    done = daemon.run(binary, *HARMLESS, "-u", "nosuch-user")
    assert done.returncode == NO_USER
    assert "can't find the user nosuch-user to switch to" in done.stderr.splitlines()


@pytest.mark.skipif(os.geteuid() != 0, reason="it's about root")
def test_root_must_say_which_user(binary):
    done = daemon.run(binary, *HARMLESS)
    assert done.returncode == USAGE
    # The second is 1.6.18's, before it was reworded.
    says = {"must add '-u root' to start as root", "can't run as root without the -u switch"}
    assert says & set(done.stderr.splitlines()), done.stderr


def test_an_occupied_port_ends_the_start(binary):
    with socket.create_server(("127.0.0.1", 0)) as occupied:
        port = occupied.getsockname()[1]
        done = daemon.run(binary, *as_root(), "-l", "127.0.0.1", "-p", port)
    assert done.returncode == OS_ERROR
    assert "failed to listen on one of interface(s) 127.0.0.1: Address already in use" in done.stderr.splitlines()


@pytest.mark.parametrize(
    "address, says",
    [
        # Documentation's own network, no host has it; and a name that can't exist. The error
        # behind the list of addresses is left over in memcached, so only what is before it counts.
        ("192.0.2.1", "bind(): Cannot assign requested address"),
        ("nosuch.invalid", "getaddrinfo(): "),
    ],
)
def test_an_address_that_is_not_ours_ends_the_start(binary, address, says):
    done = daemon.run(binary, *as_root(), "-l", address, "-p", "-1", timeout=30)
    assert done.returncode == OS_ERROR
    lines = done.stderr.splitlines()
    assert [line for line in lines if line.startswith(says)], lines
    assert [line for line in lines if line.startswith(f"failed to listen on one of interface(s) {address}: ")], lines


def test_a_unix_socket_in_a_missing_folder_ends_the_start(binary):
    done = daemon.run(binary, *as_root(), "-s", "/nonexistent/socket")
    assert done.returncode == OS_ERROR
    lines = done.stderr.splitlines()
    assert "bind(): No such file or directory" in lines
    assert [line for line in lines if line.startswith("failed to listen on UNIX socket: /nonexistent/socket: ")], lines


def test_a_path_too_long_for_a_unix_socket_ends_the_start(binary, tmp_path):
    if "paircached" not in binary.name:
        pytest.skip("memcached makes a socket of the path's beginning")
    path = tmp_path / ("x" * 110)
    done = daemon.run(binary, *as_root(), "-s", path)
    assert done.returncode == OS_ERROR
    assert done.stderr.endswith(f"failed to listen on UNIX socket: {path}: File name too long\n")


def test_a_path_too_long_for_a_socket_ends_the_start(binary, tmp_path):
    if binary.resolve().name != "paircached":
        pytest.skip("memcached 1.6.18 cuts the path and listens there")
    path = tmp_path / ("x" * 120)
    done = daemon.run(binary, *as_root(), "-s", path)
    assert done.returncode == OS_ERROR
    lines = done.stderr.splitlines()
    assert [line for line in lines if line.startswith(f"failed to listen on UNIX socket: {path}: ")], lines
    assert not list(tmp_path.iterdir())


def test_a_pid_file_that_cannot_be_written_does_not_end_the_start(launch):
    server = launch("-P", "/nonexistent/pid")
    says = "Could not open the pid file /nonexistent/pid.tmp for writing: No such file or directory"
    assert says in server.log.read_text()


def test_a_unix_socket_does_not_replace_a_file(binary, tmp_path):
    path = tmp_path / "precious"
    path.write_text("data")
    done = daemon.run(binary, *as_root(), "-s", path)
    assert done.returncode == OS_ERROR
    assert stat.S_ISREG(path.stat().st_mode) and path.read_text() == "data"


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_is_printed_and_nothing_started(binary, flag):
    done = daemon.run(binary, flag)
    assert done.returncode == 0
    assert done.stderr == ""
    for option in ("-p", "-s", "-a", "-l", "-d", "-u", "-m", "-M", "-c", "-t", "-v", "-I", "-f", "-n", "-b", "-R"):
        assert [line for line in done.stdout.splitlines() if line.strip().startswith(option)], option
    assert "unix-socket" in done.stdout  # scripts look for the word to know what is built in


@pytest.mark.parametrize("flag", ["-V", "--version"])
def test_the_version_is_printed(binary, shared, flag):
    done = daemon.run(binary, flag)
    assert done.returncode == 0
    # Scripts take the second word of it.
    assert done.stdout.splitlines()[0] == f"memcached {shared.version_text.decode()}"


@pytest.mark.parametrize("flag", ["-i", "--license"])
def test_the_licence_is_printed(binary, flag):
    done = daemon.run(binary, flag)
    assert done.returncode == 0
    assert len(done.stdout) > 500
