"""slabs and lru: checked, and without an effect where there is nothing to tune."""

import pytest

from .wire import Case, table

BAD_LINE = b"CLIENT_ERROR bad command line format\r\n"
BADCLASS = b"BADCLASS invalid src or dst class id\r\n"
NOSPARE = b"NOSPARE source class has no spare pages\r\n"
SAME = b"SAME src and dst class are identical\r\n"
PREFIX = "1.6.18 wanted the whole word"
NEW = "1.6.18 did not know this word"
EXCEED = b"ERROR hot and warm pcts must not exceed 80\r\n"
FACTORS = b"ERROR hot/warm age factors must be greater than 0\r\n"


@table(
    Case("slabs alone", b"slabs\r\nslabs nosuch\r\nslabs nosuch 1 2\r\n", b"ERROR\r\n" * 3),
    Case("reassign from an empty class", b"slabs reassign 1 2\r\n", NOSPARE),
    Case("reassign from the last class", b"slabs reassign 39 1\r\n", NOSPARE),
    Case("reassign from and to the pool", b"slabs reassign 0 1\r\nslabs reassign 1 0\r\n", NOSPARE * 2),
    Case("reassign from beyond the last class", b"slabs reassign 40 1\r\n", BADCLASS),
    Case("reassign to beyond the last class", b"slabs reassign 1 40\r\n", BADCLASS),
    Case("reassign from any class", b"slabs reassign -1 2\r\n", BADCLASS),
    Case("reassign to a negative class", b"slabs reassign 1 -1\r\n", BADCLASS),
    Case("reassign to itself", b"slabs reassign 1 1\r\nslabs reassign 99 99\r\n", SAME * 2),
    Case("reassign of no numbers", b"slabs reassign x 2\r\nslabs reassign 1 x\r\n", BAD_LINE * 2),
    Case("reassign with a word missing", b"slabs reassign\r\nslabs reassign 1\r\n", b"ERROR\r\n" * 2),
    Case("reassign with a word too many", b"slabs reassign 1 2 3\r\n", b"ERROR\r\n"),
    Case(
        "silent reassign has a word too many",
        b"slabs reassign 1 2 noreply\r\n",
        b"",
        old=b"ERROR\r\n",
        why="1.6.18 knew no noreply here",
    ),
    Case("the beginning of reassign", b"slabs r 1 1\r\n", SAME, old=b"ERROR\r\n", why=PREFIX),
    Case("automove", b"slabs automove 0\r\nslabs automove 2\r\nslabs automove 1\r\n", b"OK\r\n" * 3),
    Case("automove without a level", b"slabs automove\r\n", b"ERROR\r\n"),
    Case("automove to an unknown level", b"slabs automove 3\r\n", b"ERROR\r\n"),
    Case("automove of no number", b"slabs automove x\r\nslabs automove -1\r\n", BAD_LINE * 2),
    Case("automove with words behind it", b"slabs automove 1 2 3\r\n", b"OK\r\n"),
    Case("silent automove", b"slabs automove 1 noreply\r\nslabs automove noreply\r\n", b""),
    Case("automove ratio", b"slabs automove ratio 0.5\r\nslabs automove ratio 0.8\r\n", b"OK\r\n" * 2),
    Case("automove ratio of no number", b"slabs automove ratio x\r\n", b"ERROR\r\n"),
    Case("automove of which nothing is said", b"slabs automove ratio\r\nslabs automove window\r\n", b"ERROR\r\n" * 2, old=b"ERROR\r\n" + BAD_LINE, why=NEW),
    Case("automove window", b"slabs automove window 3\r\n", b"OK\r\n", old=BAD_LINE, why=NEW),
    Case(
        "automove window out of bounds",
        b"slabs automove window 2\r\nslabs automove window 1801\r\n",
        b"CLIENT_ERROR automove window too low or too high\r\n" * 2,
        old=BAD_LINE * 2,
        why=NEW,
    ),
    Case("automove freeratio", b"slabs automove freeratio 0.01\r\n", b"OK\r\n", old=BAD_LINE, why=NEW),
    Case("the beginning of automove", b"slabs a 1\r\n", b"OK\r\n", old=b"ERROR\r\n", why=PREFIX),
)
def test_slabs(launch, case):
    # A daemon of its own: where much was stored before, memcached has pages to spare.
    with launch().client() as client:
        client.play(case)


@table(
    Case("lru alone", b"lru\r\nlru x\r\nlru mode\r\nlru temp_ttl\r\nlru tune\r\n", b"ERROR\r\n" * 5),
    Case("mode", b"lru mode flat\r\nlru mode segmented\r\n", b"OK\r\n" * 2),
    Case("an unknown mode", b"lru mode x\r\n", b"ERROR\r\n"),
    Case("mode with a word behind it", b"lru mode segmented x\r\n", b"OK\r\n"),
    Case("the beginning of mode", b"lru m segmented\r\n", b"OK\r\n", old=b"ERROR\r\n", why=PREFIX),
    Case("temp_ttl", b"lru temp_ttl 100\r\nlru temp_ttl -1\r\n", b"OK\r\n" * 2),
    Case("temp_ttl of no number", b"lru temp_ttl x\r\n", b"ERROR\r\n"),
    Case("tune", b"lru tune 20 40 0.2 2\r\nlru tune 80 0 0.2 2.0\r\n", b"OK\r\n" * 2),
    Case("tune to too much", b"lru tune 41 40 0.2 2\r\nlru tune 81 0 0 2\r\n", EXCEED * 2),
    Case("tune to bad factors", b"lru tune 20 40 0 2\r\nlru tune 20 40 0.2 -1\r\n", FACTORS * 2),
    Case("tune with no numbers", b"lru tune x 40 0.2 2\r\nlru tune 20 40 x 2\r\n", b"ERROR\r\n" * 2),
    Case("tune with a word missing", b"lru tune 20 40 0.2\r\n", b"ERROR\r\n"),
    Case("tune with a word behind it", b"lru tune 20 40 0.2 2 x\r\n", b"OK\r\n"),
    Case("silence", b"lru tune 20 40 0.2 2 noreply\r\nlru mode noreply\r\nlru noreply\r\n", b""),
)
def test_lru(launch, case):
    with launch().client() as client:
        client.play(case)


@pytest.mark.parametrize("factor, classes", [("1.25", 39), ("2", 13)])
def test_reassign_knows_the_classes_of_the_daemon(launch, factor, classes):
    with launch("-f", factor).client() as client:
        client.ask(b"slabs reassign %d 1\r\n" % classes, NOSPARE)
        client.ask(b"slabs reassign %d 1\r\n" % (classes + 1), BADCLASS)


def test_what_was_turned_off_cannot_be_tuned(launch):
    with launch("-o", "no_slab_reassign,no_lru_maintainer").client() as client:
        client.ask(b"slabs reassign 1 2\r\n", b"CLIENT_ERROR slab reassignment disabled\r\n")
        client.ask(b"lru mode flat\r\nlru temp_ttl 100\r\n", b"ERROR\r\n" * 2)
        client.ask(b"lru tune 20 40 0.2 2\r\n", b"OK\r\n")
