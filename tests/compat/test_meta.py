"""The meta commands: mg, ms, md, ma, mn and me with their flags."""

import re

import pytest

from .wire import Case, table

BAD_LINE = b"CLIENT_ERROR bad command line format\r\n"
BAD_TOKEN = b"CLIENT_ERROR bad token in command line format\r\n"
BAD_MA = b"CLIENT_ERROR invalid or duplicate flag\r\n"
NO_NUMBER = b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"
SET = b"ms k 3 F5\r\nabc\r\n"
NUM = b"ms n 2\r\n10\r\n"
HD = b"HD\r\n"
LATER = "came after 1.6.18"


@table(
    Case("a noop", b"mn\r\n", b"MN\r\n"),
    Case("a miss", b"mg k v\r\n", b"EN\r\n"),
    Case("a quiet miss", b"mg k v q\r\nmn\r\n", b"MN\r\n"),
    Case("a bare hit", SET + b"mg k\r\n", HD + HD),
    Case("a value", SET + b"mg k v\r\n", HD + b"VA 3\r\nabc\r\n"),
    Case("flags come in the order asked for", SET + b"mg k s t k Oq1 f v\r\n", HD + b"VA 3 s3 t-1 kk Oq1 f5\r\nabc\r\n"),
    Case("a hit is not hidden by q", SET + b"mg k q v\r\nmn\r\n", HD + b"VA 3\r\nabc\r\nMN\r\n"),
    Case("h shows the state before", SET + b"mg k h\r\nmg k h\r\nmg k h\r\n", HD + b"HD h0\r\nHD h1\r\nHD h1\r\n"),
    Case("u reads without a trace", SET + b"mg k u\r\nmg k h l\r\n", HD + b"HD\r\nHD h0 l0\r\n"),
    Case("T before t", SET + b"mg k T100 t\r\n", HD + b"HD t100\r\n"),
    Case("t before T", SET + b"mg k t T100\r\nmg k t\r\n", HD + b"HD t-1\r\nHD t100\r\n"),
    Case("N makes an item and wins once", b"mg k N30 t s v\r\nmg k v\r\n", b"VA 0 t30 s0 W\r\n\r\nVA 0 Z\r\n\r\n"),
    Case("R wins once", b"ms k 1 T30\r\na\r\nmg k R60\r\nmg k R60\r\n", HD + b"HD W\r\nHD Z\r\n"),
    Case("R leaves what lives longer", b"ms k 1 T90\r\na\r\nmg k R60\r\n", HD + HD),
    Case("R leaves what lives forever", SET + b"mg k R60\r\n", HD + HD),
    Case("classic commands see it", SET + b"get k\r\n", HD + b"VALUE k 5 3\r\nabc\r\nEND\r\n"),
    Case("a miss shows key and opaque", b"mg k v k O7\r\n", b"EN kk O7\r\n"),
)
def test_get(client, case):
    client.play(case)


@table(
    Case("E stores only where nothing is", SET + b"ms k 1 ME\r\nb\r\nmg k v\r\n", HD + b"NS\r\nVA 3\r\nabc\r\n"),
    Case("R stores only over something", b"ms k 1 MR\r\nb\r\nms k 1\r\na\r\nms k 1 MR\r\nb\r\n", b"NS\r\n" + HD + HD),
    Case("A appends", SET + b"ms k 1 MA\r\nd\r\nmg k v f\r\n", HD + HD + b"VA 4 f5\r\nabcd\r\n"),
    Case("P prepends", SET + b"ms k 1 MP\r\nd\r\nmg k v f\r\n", HD + HD + b"VA 4 f5\r\ndabc\r\n"),
    Case("A on nothing", b"ms k 1 MA\r\nd\r\n", b"NS\r\n"),
    Case("A with N on nothing", b"ms k 1 MA N30\r\nd\r\nmg k v t\r\n", HD + b"VA 1 t30\r\nd\r\n", old=b"NS\r\nEN\r\n", why=LATER),
    Case("an unknown mode", b"ms k 1 MX\r\na\r\nmn\r\n", b"CLIENT_ERROR invalid mode for ms M token\r\nMN\r\n"),
    Case("q hides a success only", b"ms k 1 q\r\na\r\nms k 1 q ME\r\na\r\nmn\r\n", b"NS\r\nMN\r\n"),
    Case("k and O come back", b"ms k 1 k Oab T9\r\na\r\n", b"HD kk Oab\r\n"),
    Case("a zero length", b"ms k 0\r\n\r\nmg k v\r\n", HD + b"VA 0\r\n\r\n"),
    Case("a CAS on nothing", b"ms k 1 C5\r\na\r\n", b"NF\r\n"),
    Case("a wrong CAS", SET + b"ms k 1 C1\r\na\r\n", HD + b"EX\r\n"),
    Case("a block too long", b"ms k 1\r\nab\r\nmn\r\n", b"CLIENT_ERROR bad data chunk\r\n" + BAD_LINE + b"MN\r\n",
         old=b"CLIENT_ERROR bad data chunk\r\nERROR\r\nMN\r\n", why="a lone line end was an unknown command"),
    Case("a length that is none", b"ms k x\r\nmn\r\n", BAD_LINE + b"MN\r\n"),
    Case("s shows the size after an append", SET + b"ms k 1 MA s\r\nd\r\n", HD + b"HD s4\r\n", old=HD + HD, why=LATER),
)
def test_set(client, case):
    client.play(case)


@table(
    Case("a delete", SET + b"md k\r\nmd k\r\nmg k\r\n", HD + HD + b"NF\r\nEN\r\n"),
    Case("q hides a success", SET + b"md k q\r\nmn\r\n", HD + b"MN\r\n"),
    Case("a wrong CAS", SET + b"md k C1\r\nmg k\r\n", HD + b"EX\r\n" + HD),
    Case("k and O come back", SET + b"md k k O1\r\n", HD + b"HD kk O1\r\n"),
    Case(
        "I makes it stale: one wins, others see that",
        SET + b"md k I T30\r\nmg k v t\r\nmg k v\r\nms k 1\r\nx\r\nmg k v\r\n",
        HD + HD + b"VA 3 t30 X W\r\nabc\r\nVA 3 Z X\r\nabc\r\n" + HD + b"VA 1\r\nx\r\n",
    ),
    Case("I again gives another win", SET + b"md k I\r\nmg k\r\nmd k I\r\nmg k\r\n", HD + HD + b"HD X W\r\n" + HD + b"HD X W\r\n"),
    Case(
        "x empties it",
        SET + b"md k x\r\nmg k v f\r\n",
        HD + HD + b"VA 0 f0\r\n\r\n",
        old=HD + b"CLIENT_ERROR invalid or duplicate flag\r\nVA 3 f5\r\nabc\r\n",
        why=LATER,
    ),
)
def test_delete(client, case):
    client.play(case)


@table(
    Case("counts by one", NUM + b"ma n v\r\nma n v\r\n", HD + b"VA 2\r\n11\r\nVA 2\r\n12\r\n"),
    Case("counts without a value", NUM + b"ma n\r\n", HD + HD),
    Case("counts by D", NUM + b"ma n D90 v\r\n", HD + b"VA 3\r\n100\r\n"),
    Case("counts down", NUM + b"ma n MD v\r\nma n M- v D20\r\nget n\r\n",
         HD + b"VA 1\r\n9\r\nVA 1\r\n0\r\nVALUE n 0 2\r\n0 \r\nEND\r\n"),
    Case("a miss", b"ma n v\r\nma n q\r\n", b"NF\r\nNF\r\n"),
    Case("a miss with N begins", b"ma n N30 J13 v t\r\nma n v\r\n", b"VA 2 t30\r\n13\r\nVA 2\r\n14\r\n"),
    Case("T sets the expiry", NUM + b"ma n T50 t\r\n", HD + b"HD t50\r\n"),
    Case("q hides a success", NUM + b"ma n q v\r\nmn\r\n", HD + b"MN\r\n"),
    Case("k and O come back", NUM + b"ma n k O1\r\n", HD + b"HD kn O1\r\n"),
    Case("a wrong CAS", NUM + b"ma n C1\r\n", HD + b"EX\r\n"),
    Case("no number", SET + b"ma k\r\n", HD + NO_NUMBER),
    Case("an unknown mode", NUM + b"ma n MX\r\n", HD + b"CLIENT_ERROR invalid mode for ma M token\r\n"),
    Case("any wrong flag", NUM + b"ma n v v\r\nma n Dx\r\n", HD + BAD_MA + BAD_MA),
)
def test_arithmetic(client, case):
    client.play(case)


@table(
    Case("a flag twice", b"mg k v v\r\n", b"CLIENT_ERROR duplicate flag\r\n"),
    Case("a flag that does not exist", b"mg k !\r\n", BAD_LINE, old=b"CLIENT_ERROR invalid flag\r\n", why=LATER),
    Case("a letter that does not exist", b"mg k w\r\n", b"CLIENT_ERROR invalid flag\r\n"),
    Case("T without a number", b"mg k T\r\n", BAD_TOKEN),
    Case("a wrong flag takes the block along", b"ms k 4 Tx\r\nmn\r\n\r\nmn\r\n", BAD_TOKEN + b"MN\r\n"),
    Case("F without a number", b"ms k 1 Fx\r\na\r\n", BAD_LINE),
    Case("an opaque of 31", b"md k O" + b"1" * 31 + b"\r\n", b"NF O" + b"1" * 31 + b"\r\n"),
    Case("an opaque of 32", b"md k O" + b"1" * 32 + b"\r\n", b"CLIENT_ERROR opaque token too long\r\n"),
    Case("no base64", b"mg a b\r\n", b"CLIENT_ERROR error decoding key\r\n"),
    Case("too many flags", b"mg k" + b" v" * 21 + b"\r\n", b"CLIENT_ERROR options flags are too long\r\n"),
    Case("a key of 251", b"mg " + b"k" * 251 + b" v\r\n", BAD_LINE),
    Case("P and L are ignored", SET + b"mg k Px Ly s\r\n", HD + b"HD s3\r\n"),
    Case("no key", b"mg\r\n", BAD_LINE, old=b"ERROR\r\n", why="too few arguments were an unknown command"),
)
def test_wrong_lines(client, case):
    client.play(case)


@table(
    Case("a key in base64", b"ms Zm9v 1 b k\r\na\r\nmg foo v\r\n", b"HD kZm9v b\r\nVA 1\r\na\r\n"),
    Case("it stays known as such", b"ms Zm9v 1 b\r\na\r\nmg foo k\r\n", HD + b"HD kZm9v b\r\n"),
    Case("a text key read by base64", b"ms foo 1\r\na\r\nmg Zm9v b k v\r\n", HD + b"VA 1 kfoo\r\na\r\n"),
    Case("bytes that are no text", b"ms AAEC/w== 1 b\r\na\r\nmg AAEC/w== b k v\r\n", HD + b"VA 1 kAAEC/w== b\r\na\r\n"),
)
def test_binary_keys(client, case):
    client.play(case)


def cas(client, key=b"k"):
    """The CAS that mg shows."""
    return int(re.fullmatch(rb"HD c(\d+)\r\n", client.talk(b"mg " + key + b" c\r\n"))[1])


def test_a_cas_that_is_right_stores_deletes_and_counts(client):
    client.ask(b"ms k 1\r\n1\r\n", HD)
    client.ask(b"ms k 1 C%d\r\n2\r\n" % cas(client), HD)
    client.ask(b"ma k C%d v\r\n" % cas(client), b"VA 1\r\n3\r\n")
    client.ask(b"md k C%d\r\n" % cas(client), HD)
    client.ask(b"mg k\r\n", b"EN\r\n")


def test_what_was_written_from_an_old_cas_with_I_is_stale(client):
    client.ask(b"ms k 1 T90\r\n1\r\n", HD)
    old = cas(client)
    client.ask(b"md k I T60\r\n", HD)
    client.ask(b"ms k 1 I C%d T30\r\n2\r\n" % (old - 1), HD)
    client.ask(b"mg k v t\r\nmg k v\r\n", b"VA 1 t60 X W\r\n2\r\nVA 1 Z X\r\n2\r\n")
    client.ask(b"ms k 1 I C%d\r\n3\r\n" % (cas_of_stale(client) + 1), b"EX\r\n")


def cas_of_stale(client):
    return int(re.match(rb"HD c(\d+) ", client.talk(b"mg k c\r\n"))[1])


@pytest.mark.parametrize("length", [1, 20_000])
def test_a_cas_of_the_clients_choice(client, length):
    if client.server.version < (1, 6, 45):
        pytest.skip(LATER)
    value = b"1" * length
    client.ask(b"ms k %d E123 c\r\n%s\r\n" % (length, value), b"HD c123\r\n")
    client.ask(b"gets k\r\n", b"VALUE k 0 %d 123\r\n%s\r\nEND\r\n" % (length, value))
    client.ask(b"mg k C123 v c\r\nmg k C122 v\r\n", b"HD c123\r\nVA %d\r\n%s\r\n" % (length, value))
    client.ask(b"ms k 1 C122 E200\r\n5\r\nms k 1 C123 E200\r\n5\r\n", b"EX\r\nHD\r\n")
    client.ask(b"ma k E300 c v\r\nmd k I E400\r\nmg k c\r\n", b"VA 1 c300\r\n6\r\nHD\r\nHD c400 X W\r\n")
    client.ask(b"incr k 1\r\nmg k v s\r\n", b"7\r\nVA 1 s1 Z X\r\n7\r\n")
    client.ask(b"mg new N30 E9 c\r\nma num N0 E8 c\r\n", b"HD c9 W\r\nHD c8\r\n")
    client.ask(b"ms k 1\r\na\r\n", HD)
    assert cas(client) != 400


def test_debug_shows_an_item_without_reading_it(client):
    client.ask(b"me k\r\n", b"EN\r\n")
    client.ask(b"ms k 3 T100\r\nabc\r\n", HD)
    line = rb"ME k exp=-100 la=0 cas=\d+ fetch=%s cls=1 size=\d+\r\n"
    assert re.fullmatch(line % b"no", client.talk(b"me k\r\n"))
    assert re.fullmatch(line % b"no", client.talk(b"me k\r\n"))
    client.ask(b"mg k\r\n", HD)
    assert re.fullmatch(line % b"yes", client.talk(b"me k\r\n"))


def test_a_value_too_large_is_refused_and_the_old_one_gone(client):
    client.ask(SET, HD)
    big = b"x" * (1 << 20)
    client.ask(b"ms k %d\r\n%s\r\nmg k\r\n" % (len(big), big), b"SERVER_ERROR object too large for cache\r\nEN\r\n")


def test_me_is_counted(client):
    before = int(client.stats()["cmd_meta"])
    client.talk(b"mg k\r\nms k 1\r\n1\r\nma k\r\nme k\r\nmd k\r\nme k\r\nmn\r\n")
    assert int(client.stats()["cmd_meta"]) == before + 2
