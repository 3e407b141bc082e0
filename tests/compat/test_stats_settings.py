"""stats settings: what the command line asked for."""

import pytest

from .names import SETTINGS_OF_1_6_45

DEFAULTS = {
    "maxbytes": "67108864",
    "maxconns": "1024",
    "udpport": "0",
    "inter": "127.0.0.1",
    "verbosity": "0",
    "evictions": "on",
    "domain_socket": "NULL",
    "umask": "700",
    "shutdown_command": "no",
    "growth_factor": "1.25",
    "chunk_size": "48",
    "num_threads": "4",
    "stat_key_prefix": ":",
    "detail_enabled": "no",
    "reqs_per_event": "20",
    "cas_enabled": "yes",
    "tcp_backlog": "1024",
    "auth_enabled_sasl": "no",
    "auth_enabled_ascii": "no",
    "item_size_max": "1048576",
    "maxconns_fast": "yes",
    "flush_enabled": "yes",
    "dump_enabled": "yes",
    "hash_algorithm": "murmur3",
    "lru_crawler": "yes",
    "lru_crawler_sleep": "100",
    "lru_crawler_tocrawl": "0",
    "lru_maintainer_thread": "yes",
    "hot_lru_pct": "20",
    "warm_lru_pct": "40",
    "hot_max_factor": "0.20",
    "warm_max_factor": "2.00",
    "idle_timeout": "0",
}


def test_defaults(client):
    settings = client.stats(b"settings")
    assert {name: settings.get(name) for name in DEFAULTS} == DEFAULTS


@pytest.mark.parametrize(
    "options, shown",
    [
        (["-m", "100"], {"maxbytes": "104857600"}),
        (["-M"], {"evictions": "off"}),
        (["-c", "200"], {"maxconns": "200"}),
        (["-t", "2"], {"num_threads": "2"}),
        (["-R", "5"], {"reqs_per_event": "5"}),
        (["-b", "77"], {"tcp_backlog": "77"}),
        (["-f", "1.5"], {"growth_factor": "1.50"}),
        (["-n", "96"], {"chunk_size": "96"}),
        (["-I", "2m"], {"item_size_max": "2097152"}),
        (["-v"], {"verbosity": "1"}),
        (["-vv"], {"verbosity": "2"}),
        (["-v", "-v"], {"verbosity": "2"}),
        (["-U", "0"], {"udpport": "0"}),
        (["-o", "no_maxconns_fast"], {"maxconns_fast": "no"}),
        (["-o", "no_maxconns_fast,modern", "-o", "maxconns_fast"], {"maxconns_fast": "yes"}),
        (["-o", "idle_timeout=30"], {"idle_timeout": "30"}),
        (["-o", "hashpower=17,hash_algorithm=jenkins,idle_timeout=9"], {"idle_timeout": "9"}),
        (
            ["-o", "no_modern"],
            {
                **{"maxconns_fast": "no", "slab_reassign": "no", "slab_automove": "0", "slab_chunk_max": "1048576"},
                **{"lru_crawler": "no", "lru_maintainer_thread": "no", "lru_segmented": "no"},
                "hash_algorithm": "jenkins",
            },
        ),
        (["-o", "no_modern,slab_chunk_max=1024,modern"], {"slab_chunk_max": "1024", "hash_algorithm": "jenkins"}),
        (["-o", "slab_chunk_max=1024", "-I", "1500k"], {"slab_chunk_max": "1024", "item_size_max": "1536000"}),
        (["-o", "no_modern", "-I", "2m"], {"slab_chunk_max": "524288"}),
        (["-o", "slab_chunk_max=1024,no_chunked_items"], {"slab_chunk_max": "1048576"}),
        (
            ["-o", "hashpower=17,hash_algorithm=xxh3,tail_repair_time=11"],
            {"hashpower_init": "17", "hash_algorithm": "xxh3", "tail_repair_time": "11"},
        ),
        (
            ["-o", "slab_automove=2,slab_automove_ratio=0.123,slab_automove_window=20,no_slab_reassign"],
            {
                **{"slab_automove": "2", "slab_automove_ratio": "0.12", "slab_automove_window": "20"},
                "slab_reassign": "no",
            },
        ),
        (["-o", "no_slab_automove,slab_automove"], {"slab_automove": "1"}),
        (["-o", "lru_crawler_sleep=5,lru_crawler_tocrawl=7"], {"lru_crawler_sleep": "5", "lru_crawler_tocrawl": "7"}),
        (["-o", "no_lru_crawler"], {"lru_crawler": "no"}),
        (["-o", "no_lru_crawler,lru_crawler"], {"lru_crawler": "yes"}),
        (["-o", "no_lru_maintainer"], {"lru_maintainer_thread": "no", "lru_segmented": "no"}),
        (
            ["-o", "hot_lru_pct=10,warm_lru_pct=11,hot_max_factor=0.3,warm_max_factor=3"],
            {"hot_lru_pct": "10", "warm_lru_pct": "11", "hot_max_factor": "0.30", "warm_max_factor": "3.00"},
        ),
        (["-o", "temporary_ttl=30"], {"temp_lru": "yes", "temporary_ttl": "30"}),
        (["-o", "temporary_ttl=-5"], {"temp_lru": "yes", "temporary_ttl": "4294967291"}),
        (["-o", "read_buf_mem_limit=50"], {"read_buf_mem_limit": "52428800"}),
        (["-W"], {"maxconns_fast": "yes"}),
        (["--memory-limit=100", "--conn-limit", "200"], {"maxbytes": "104857600", "maxconns": "200"}),
        (["-m100", "-t2"], {"maxbytes": "104857600", "num_threads": "2"}),
        (["-Mm100"], {"maxbytes": "104857600", "evictions": "off"}),
        (["-m", "100", "-m", "200"], {"maxbytes": "209715200"}),
        (["-m", "100m", "-t", "2x"], {"maxbytes": "104857600", "num_threads": "2"}),
        (["-R", "30.5", "-n", "50b", "-f", "1.5x"], {"reqs_per_event": "30", "chunk_size": "50", "growth_factor": "1.50"}),
        (["-c", " 200k", "-b", "-1"], {"maxconns": "200"}),
        (["-o", "hot_max_factor=0.3x"], {"hot_max_factor": "0.30"}),
        (["left", "-m", "100", "over"], {"maxbytes": "104857600"}),
    ],
    ids=lambda value: " ".join(map(str, value)),
)
def test_options_are_shown(launch, options, shown):
    with launch(*options).client() as client:
        settings = client.stats(b"settings")
    assert {name: settings[name] for name in shown} == shown


def test_verbosity_is_shown(launch):
    with launch().client() as client:
        for level, shown in [(1, "1"), (2, "2"), (9, "2"), (0, "0")]:
            client.ask(b"verbosity %d\r\n" % level, b"OK\r\n")
            assert client.stats(b"settings")["verbosity"] == shown


def test_a_unix_socket_is_shown(launch, tmp_path):
    path = str(tmp_path / "socket")
    with launch("-s", path, "-a", "0750", listen=()).client() as client:
        settings = client.stats(b"settings")
    assert settings["domain_socket"] == path
    assert settings["umask"] == "750"
    assert settings["tcpport"] == "11211"


def test_settings_keep_the_order_of_1_6_45(client):
    found = list(client.stats(b"settings"))
    if client.server.version < (1, 6, 45):
        pytest.skip("the order is that of 1.6.45; older versions have their own")
    assert found == [name for name in SETTINGS_OF_1_6_45 if name in found]
