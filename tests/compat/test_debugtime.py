"""`debugtime`, which moves the clock of a daemon started with -o relaxed_privileges, and of no other."""

import pytest

from . import daemon
from .wire import Case, stored, table

HELD = b"VALUE k 0 1\r\na\r\nEND\r\n"
GONE = b"END\r\n"


@pytest.fixture
def movable(binary, launch):
    if binary.resolve().name != "paircached":
        pytest.skip("a release build of memcached has no debugtime")
    with launch("-o", "relaxed_privileges").client() as client:
        yield client


@table(
    Case("a number", b"debugtime 10\r\n", b"ERROR\r\n"),
    Case("a letter", b"debugtime p\r\n", b"ERROR\r\n"),
    Case("nothing", b"debugtime\r\n", b"ERROR\r\n"),
    Case("noreply", b"debugtime 10 noreply\r\n", b"ERROR\r\n"),
)
def test_without_the_option_there_is_no_such_command(client, case):
    client.play(case)


def test_a_release_build_of_memcached_refuses_the_option(binary):
    if binary.resolve().name == "paircached":
        pytest.skip("it is taken here")
    done = daemon.run(binary, "-u", "root", "-p", "-1", "-o", "relaxed_privileges")
    assert (done.returncode, done.stdout + done.stderr) == (1, 'Illegal suboption "relaxed_privileges"\n')


def test_items_expire_when_the_clock_is_moved(movable):
    movable.ask(stored("k", "a", exptime=100) + b"get k\r\n", b"STORED\r\n" + HELD)
    movable.ask(b"debugtime 90\r\n", b"OK\r\n")
    movable.ask(b"get k\r\n", HELD)
    movable.ask(b"debugtime 11\r\n", b"OK\r\n")
    movable.ask(b"get k\r\n", GONE)


def test_a_delayed_flush_comes_when_the_clock_is_moved(movable):
    movable.ask(stored("k", "a") + b"flush_all 100\r\nget k\r\n", b"STORED\r\nOK\r\n" + HELD)
    movable.ask(b"debugtime 101\r\n", b"OK\r\n")
    while movable.talk(b"get k\r\n") == HELD:  # until its timer has looked
        pass


def test_age_and_uptime_follow_the_clock(movable):
    movable.ask(stored("k", "a") + b"debugtime 1000\r\n", b"STORED\r\nOK\r\n")
    assert 1000 <= int(movable.stats()["uptime"]) < 1100
    assert movable.talk(b"mg k l\r\n") in (b"HD l1000\r\n", b"HD l1001\r\n")


def test_a_stopped_clock_is_moved_by_hand_only(movable):
    movable.ask(b"debugtime p\r\n", b"OK\r\n")
    time = int(movable.stats()["time"])
    movable.ask(b"debugtime 7\r\n", b"OK\r\n")
    assert int(movable.stats()["time"]) == time + 7
    movable.ask(b"debugtime -7\r\n", b"OK\r\n")
    assert int(movable.stats()["time"]) == time
    movable.ask(b"debugtime r\r\n", b"OK\r\n")
    assert int(movable.stats()["time"]) >= time


@table(
    Case("nothing", b"debugtime\r\n", b"ERROR\r\n"),
    Case("no number", b"debugtime x\r\ndebugtime 1.5\r\ndebugtime 99999999999999999999\r\n", b"ERROR\r\n" * 3),
    Case("words behind the number", b"debugtime 0 x y\r\n", b"OK\r\n"),
    Case("it is never silent", b"debugtime 0 noreply\r\n", b"OK\r\n"),
    Case("as far as numbers go", b"debugtime 9223372036854775807\r\n" * 2, b"OK\r\n" * 2),
    Case("and back", b"debugtime -9223372036854775808\r\n" * 2, b"OK\r\n" * 2),
)
def test_what_is_said_of_its_argument(movable, case):
    movable.play(case)
