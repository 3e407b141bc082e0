"""Command-line tools of the field: libmemcached's, and memcached's own."""

import os
import re
import shutil
import subprocess

import pytest

from .wire import eventually, stored

# libmemcached's names begin with mem or, on Debian, with memc; memcached-tool is not in Debian's PATH.
PLACES = os.environ.get("PATH", "") + ":/usr/bin:/usr/share/memcached/scripts"


def tool(name, *args, data=None):
    """Run it to the end."""
    names = [name] if "-" in name else ["memc" + name, "mem" + name]
    path = next(filter(None, (shutil.which(each, path=PLACES) for each in names)), None)
    assert path, f"none of {names} is installed: they come with libmemcached-tools and memcached"
    return subprocess.run([path, *map(str, args)], capture_output=True, input=data, timeout=30, check=False)


@pytest.fixture
def at(server):
    """The option that names the server, and one that names none of this machine's."""
    return f"--servers={server.address}"


class TestLibmemcached:
    def test_cp_stores_files_and_cat_shows_them(self, at, tmp_path):
        for name, data in (("one", b"first\n"), ("two", bytes(range(256)) * 1000)):
            (tmp_path / name).write_bytes(data)
            assert tool("cp", at, tmp_path / name).returncode == 0
            copy = tmp_path / "copy"
            assert tool("cat", at, f"--file={copy}", name).returncode == 0
            assert copy.read_bytes() == data
        assert b"first\n" in tool("cat", at, "one").stdout
        assert tool("cat", at, "nosuch").returncode == 1

    def test_cp_sets_flags_and_expiry(self, client, at, tmp_path):
        (tmp_path / "k").write_bytes(b"v")
        assert tool("cp", at, "--flags=7", "--expire=1000", tmp_path / "k").returncode == 0
        client.ask(b"get k\r\n", b"VALUE k 7 1\r\nv\r\nEND\r\n")

    def test_cp_adds_and_replaces(self, client, at, tmp_path):
        (tmp_path / "k").write_bytes(b"v")
        assert tool("cp", at, "--replace", tmp_path / "k").returncode == 1
        assert tool("cp", at, "--add", tmp_path / "k").returncode == 0
        assert tool("cp", at, "--add", tmp_path / "k").returncode == 1
        client.ask(b"get k\r\n", b"VALUE k 0 1\r\nv\r\nEND\r\n")

    def test_exist_touch_and_rm_tell_what_is_there(self, client, at):
        client.ask(stored("k", "v"), b"STORED\r\n")
        for name, key, code in [
            *(("exist", "k", 0), ("exist", "nosuch", 1), ("touch", "k", 0), ("touch", "nosuch", 1)),
            *(("rm", "k", 0), ("rm", "k", 1), ("exist", "k", 1)),
        ]:
            assert tool(name, at, key).returncode == code, (name, key)
        client.ask(b"get k\r\n", b"END\r\n")

    def test_flush_empties(self, client, at):
        client.ask(stored("k", "v"), b"STORED\r\n")
        assert tool("flush", at).returncode == 0
        client.ask(b"get k\r\n", b"END\r\n")

    def test_ping_finds_the_server(self, at):
        assert tool("ping", at).returncode == 0
        assert tool("ping", "--servers=127.0.0.1:1").returncode == 1

    def test_stat_shows_the_numbers(self, server, at):
        shown = tool("stat", at).stdout.decode()
        assert f"pid: {server.pid}\n" in shown
        assert f"version: {server.version_text.decode()}\n" in shown
        assert "maxbytes: 67108864\n" in tool("stat", at, "settings").stdout.decode()
        assert server.version_text.decode() in tool("stat", at, "--server-version").stderr.decode()

    def test_the_binary_protocol_does_the_same(self, client, at, tmp_path):
        (tmp_path / "k").write_bytes(b"v")
        assert tool("cp", at, "--binary", "--flags=7", tmp_path / "k").returncode == 0
        client.ask(b"get k\r\n", b"VALUE k 7 1\r\nv\r\nEND\r\n")
        assert b"v" in tool("cat", at, "--binary", "k").stdout
        for name, key, code in [
            *(("exist", "k", 0), ("exist", "nosuch", 1), ("touch", "k", 0), ("rm", "k", 0), ("rm", "k", 1)),
        ]:
            assert tool(name, at, "--binary", key).returncode == code, (name, key)

    def test_dump_lists_the_keys(self, launch):
        server = launch()
        with server.client() as client:
            client.ask(stored("a", "v") + stored("b", "v" * 2000), b"STORED\r\n" * 2)
        listed = tool("dump", f"--servers={server.address}").stdout.decode().split()
        # memcached shows those only that have come to rest.
        assert set(listed) <= {"a", "b"}
        if server.version >= (1, 6, 45):
            assert sorted(listed) == ["a", "b"]

    def test_error_names_the_codes(self):
        assert tool("error", 0, 16).stdout.decode().split("\n")[:2] == ["SUCCESS", "NOT FOUND"]

    @pytest.mark.parametrize("options", [[], ["--binary"], ["--non-blocking"], ["--noreply"]], ids=str)
    @pytest.mark.parametrize("test", ["set", "get", "mget"])
    def test_slap_finds_what_it_stored(self, launch, test, options):
        server = launch()
        done = tool(
            *("slap", f"--servers={server.address}", "--concurrency=4", "--execute-number=200"),
            *("--initial-load=200", f"--test={test}", *options),
        )
        assert done.returncode == 0 and done.stderr == b"", done
        with server.client() as client:
            stats = client.stats()
        assert int(stats["cmd_set"]) >= 200
        assert test == "set" or int(stats["get_hits"]) >= 200

    def test_aslap_verifies_what_it_reads(self, launch):
        server = launch()
        done = tool("aslap", "-s", server.address, "-x", 5000, "-c", 8, "-T", 2, "--verify=1.0", "--division=4")
        said = done.stdout.decode()
        assert done.returncode == 0, done
        for line in ("verify_misses: 0", "verify_failed: 0"):
            assert line in said, said

    @pytest.mark.parametrize("protocol, option", [("ascii", "-a"), ("binary", "-b")])
    def test_capable_passes(self, launch, protocol, option):
        # It wants `delete a b c d e` to be an error, as it is in 1.6.18; 1.6.45 deletes a.
        shown = tool("capable", "-h", "127.0.0.1", "-p", launch().port, option).stdout.decode()
        test = rf"{protocol} [a-z]+(?: noreply)?"
        tests = set(re.findall(test, shown))
        passed = set(re.findall(rf"({test}) +\[pass\]", shown))
        assert len(tests) > 20
        assert tests == passed


class TestMemcachedTool:
    def test_display_shows_the_classes(self, launch):
        server = launch()
        with server.client() as client:
            client.ask(stored("a", "v") + stored("b", "v") + stored("c", "v" * 1000), b"STORED\r\n" * 3)
        rows = tool("memcached-tool", server.address, "display").stdout.decode().splitlines()
        assert rows[0].split()[:6] == ["#", "Item_Size", "Max_age", "Pages", "Count", "Full?"]
        found = {row.split()[0]: row.split() for row in rows[1:]}
        assert found["1"][1] == "96B" and found["1"][4] == "2"
        assert found["12"][1] == "1.2K" and found["12"][4] == "1"

    @pytest.mark.parametrize(
        "kind, name, value", [("stats", "limit_maxbytes", "67108864"), ("settings", "maxconns", "1024")]
    )
    def test_stats_and_settings_are_listed(self, server, kind, name, value):
        rows = tool("memcached-tool", server.address, kind).stdout.decode().splitlines()
        assert [name, value] in [row.split() for row in rows]

    def test_keys_and_values_are_dumped(self, launch):
        server = launch()
        with server.client() as client:
            client.ask(stored("a", "abc") + stored("b", "x" * 2000), b"STORED\r\n" * 2)

        def listed():
            shown = tool("memcached-tool", server.address, "keys").stdout.decode()
            return sorted(re.findall(r"key=(\S+)", shown))

        # memcached is busy while a crawl of its own is under way.
        eventually("both are listed", lambda: listed() == ["a", "b"])
        dumped = tool("memcached-tool", server.address, "dump").stdout.decode().splitlines()
        assert ["add a 0 0 3", "abc"] in [dumped[at : at + 2] for at in range(len(dumped))]
        assert ["add b 0 0 2000", "x" * 2000] in [dumped[at : at + 2] for at in range(len(dumped))]

    def test_a_limit_cuts_a_dump(self, launch):
        server = launch()
        with server.client() as client:
            client.ask(b"".join(stored(f"k{number}", "v") for number in range(20)), b"STORED\r\n" * 20)

        def dumped():
            shown = tool("memcached-tool", server.address, "dump", 5).stdout.decode()
            return len(re.findall(r"^add k\d+ ", shown, re.MULTILINE))

        # Debian's tool takes the OK that now comes first for a key.
        eventually("five are dumped", lambda: dumped() == (4 if server.version >= (1, 6, 45) else 5))

    def test_sizes_are_not_counted_unless_asked_for(self, launch):
        rows = tool("memcached-tool", launch().address, "sizes").stdout.decode().splitlines()
        assert [row.split()[-2:] for row in rows[1:]] in ([], [["sizes_status", "disabled"]])
        server = launch("-o", "track_sizes")
        with server.client() as client:
            client.ask(stored("a", "v" * 100), b"STORED\r\n")
        shown = tool("memcached-tool", server.address, "sizes").stdout.decode()
        assert ["160", "1"] in [row.split() for row in shown.splitlines()], shown

    def test_a_unix_socket_is_reached(self, launch, tmp_path):
        path = tmp_path / "socket"
        launch("-s", str(path), listen=())
        rows = tool("memcached-tool", path, "settings").stdout.decode().splitlines()
        assert ["domain_socket", str(path)] in [row.split() for row in rows]
