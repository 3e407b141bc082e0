"""get, gets, gat, gats, delete and touch."""

from .wire import Case, stored, table

BAD_LINE = b"CLIENT_ERROR bad command line format\r\n"
FEW = "too few arguments were an unknown command before the parser was rewritten"
BAD_EXPTIME = b"CLIENT_ERROR invalid exptime argument\r\n"
AB = stored("a", "1") + stored("b", "22", flags=5)


@table(
    Case("a miss is only END", b"get k\r\n", b"END\r\n"),
    Case("gets of a miss is only END", b"gets k\r\n", b"END\r\n"),
    Case("gat of a miss is only END", b"gat 0 k\r\n", b"END\r\n"),
    Case("gats of a miss is only END", b"gats 0 k\r\n", b"END\r\n"),
    Case(
        "many keys are answered in the order asked",
        AB + b"get b nosuch a\r\n",
        b"STORED\r\nSTORED\r\nVALUE b 5 2\r\n22\r\nVALUE a 0 1\r\n1\r\nEND\r\n",
    ),
    Case(
        "a key asked twice is answered twice",
        AB + b"get a a\r\n",
        b"STORED\r\nSTORED\r\nVALUE a 0 1\r\n1\r\nVALUE a 0 1\r\n1\r\nEND\r\n",
    ),
    Case(
        "gat gives the value and the new expiry",
        AB + b"gat 100 a b\r\nget a\r\ngat -1 a\r\nget a\r\n",
        b"STORED\r\nSTORED\r\nVALUE a 0 1\r\n1\r\nVALUE b 5 2\r\n22\r\nEND\r\n"
        b"VALUE a 0 1\r\n1\r\nEND\r\nVALUE a 0 1\r\n1\r\nEND\r\nEND\r\n",
    ),
    Case(
        "more spaces are one",
        AB + b"get  a   b\r\n",
        b"STORED\r\nSTORED\r\nVALUE a 0 1\r\n1\r\nVALUE b 5 2\r\n22\r\nEND\r\n",
    ),
    Case(
        "spaces behind the last key are nothing",
        AB + b"get a  \r\n",
        b"STORED\r\nSTORED\r\nVALUE a 0 1\r\n1\r\nEND\r\n",
    ),
    Case("get without a key", b"get\r\n", BAD_LINE, old=b"ERROR\r\n", why=FEW),
    Case("gets without a key", b"gets\r\n", BAD_LINE, old=b"ERROR\r\n", why=FEW),
    Case("gat without anything", b"gat\r\n", BAD_LINE, old=b"ERROR\r\n", why=FEW),
    Case("gat without a key", b"gat 1\r\n", BAD_LINE, old=b"END\r\n", why="1.6.18 looked for no key at all"),
    Case("gats without a key", b"gats 0\r\n", BAD_LINE, old=b"END\r\n", why="1.6.18 looked for no key at all"),
    Case("get with only spaces", b"get \r\ngets  \r\n", BAD_LINE * 2, old=b"ERROR\r\n" * 2, why=FEW),
    Case("a carriage return is part of a key", b"get k\r\r\n", b"END\r\n"),
    Case(
        "gat of a hit, a miss and a hit",
        AB + b"gat 10 a nosuch b\r\n",
        b"STORED\r\nSTORED\r\nVALUE a 0 1\r\n1\r\nVALUE b 5 2\r\n22\r\nEND\r\n",
    ),
    Case("gat with an expiry that is no number", b"gat x k\r\n", BAD_EXPTIME),
    Case("gats with an expiry that is no number", b"gats x k\r\n", BAD_EXPTIME),
    Case(
        "gat with an expiry beyond 32 bits",
        b"gat 4294967295 k\r\n",
        BAD_EXPTIME,
        old=b"END\r\n",
        why="1.6.18 cut it to 32 bits, now it is checked",
    ),
)
def test_retrieving(client, case):
    client.play(case)


@table(
    Case("delete deletes", stored("k", "a") + b"delete k\r\nget k\r\n", b"STORED\r\nDELETED\r\nEND\r\n"),
    Case("delete of a miss", b"delete k\r\n", b"NOT_FOUND\r\n"),
    Case("delete of an expired item", stored("k", "a", exptime=-1) + b"delete k\r\n", b"STORED\r\nNOT_FOUND\r\n"),
    Case("delete twice", stored("k", "a") + b"delete k\r\ndelete k\r\n", b"STORED\r\nDELETED\r\nNOT_FOUND\r\n"),
    Case("delete with the 0 that old clients send", stored("k", "a") + b"delete k 0\r\n", b"STORED\r\nDELETED\r\n"),
    Case(
        "delete with another number",
        stored("k", "a") + b"delete k 5\r\n",
        b"STORED\r\nDELETED\r\n",
        old=b"STORED\r\nCLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]\r\n",
        why="1.6.18 refused what was once a delay, now it is ignored",
    ),
    Case(
        "delete with two words more",
        stored("k", "a") + b"delete k 0 x\r\n",
        b"STORED\r\nDELETED\r\n",
        old=b"STORED\r\nCLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]\r\n",
        why="1.6.18 refused what was once a delay, now it is ignored",
    ),
    # 1.6.45 would delete; memccapable wants it refused.
    Case("delete with four words more", b"delete a b c d e\r\n", BAD_LINE, old=b"ERROR\r\n", why="it was unknown then"),
    Case("delete without a key", b"delete\r\n", BAD_LINE, old=b"ERROR\r\n", why=FEW),
    Case(
        "delete leaves the neighbour",
        AB + b"delete a\r\nget a b\r\n",
        b"STORED\r\nSTORED\r\nDELETED\r\nVALUE b 5 2\r\n22\r\nEND\r\n",
    ),
)
def test_deleting(client, case):
    client.play(case)


@table(
    Case("touch of a miss", b"touch k 0\r\n", b"NOT_FOUND\r\n"),
    Case(
        "touch keeps value and flags",
        AB + b"touch b 100\r\nget b\r\n",
        b"STORED\r\nSTORED\r\nTOUCHED\r\nVALUE b 5 2\r\n22\r\nEND\r\n",
    ),
    Case(
        "touch with a negative expiry ends the item",
        AB + b"touch b -1\r\nget b\r\n",
        b"STORED\r\nSTORED\r\nTOUCHED\r\nEND\r\n",
    ),
    Case(
        "touch with 0 makes an item stay",
        stored("k", "a", exptime=100) + b"touch k 0\r\nget k\r\n",
        b"STORED\r\nTOUCHED\r\nVALUE k 0 1\r\na\r\nEND\r\n",
    ),
    Case(
        "touch does not revive",
        stored("k", "a", exptime=-1) + b"touch k 0\r\nget k\r\n",
        b"STORED\r\nNOT_FOUND\r\nEND\r\n",
    ),
    Case("touch with an expiry that is no number", b"touch k x\r\n", BAD_EXPTIME),
    Case(
        "touch with an expiry beyond 32 bits",
        b"touch k 4294967295\r\n",
        BAD_EXPTIME,
        old=b"NOT_FOUND\r\n",
        why="1.6.18 cut it to 32 bits, now it is checked",
    ),
    Case(
        "touch with the most and the least expiry",
        b"touch k 2147483647\r\ntouch k -2147483648\r\n",
        b"NOT_FOUND\r\n" * 2,
    ),
    Case(
        "touch with an expiry just beyond 32 bits",
        b"touch k 2147483648\r\ntouch k -2147483649\r\n",
        BAD_EXPTIME * 2,
        old=b"NOT_FOUND\r\n" * 2,
        why="1.6.18 cut it to 32 bits, now it is checked",
    ),
    Case("touch with more words", b"touch k 0 x y\r\n", b"NOT_FOUND\r\n", old=b"ERROR\r\n", why="1.6.18 took no more"),
    Case("touch without a key", b"touch\r\n", BAD_LINE, old=b"ERROR\r\n", why=FEW),
    Case("touch without an expiry", b"touch k\r\n", BAD_LINE, old=b"ERROR\r\n", why=FEW),
)
def test_touching(client, case):
    client.play(case)


def test_a_get_of_a_thousand_keys_is_answered_whole_and_in_order(client):
    keys = [f"key-of-some-length-{number}" for number in range(1000)]
    client.send(b"".join(stored(key, f"value of {key}") for key in keys))
    client.read_until(b"STORED\r\n" * len(keys))
    expect = b"".join(f"VALUE {key} 0 {len(key) + 9}\r\nvalue of {key}\r\n".encode() for key in keys)
    client.ask(f"get {' '.join(keys)}\r\n".encode(), expect + b"END\r\n")
    client.ask(f"get nosuch {' '.join(keys)} nosuch\r\n".encode(), expect + b"END\r\n")


def test_gat_of_a_hundred_keys_is_answered_whole(client):
    keys = [f"k{number}" for number in range(100)]
    client.ask(b"".join(stored(key, "v") for key in keys), b"STORED\r\n" * 100)
    expect = b"".join(f"VALUE {key} 0 1\r\nv\r\n".encode() for key in keys) + b"END\r\n"
    client.ask(f"gat 100 {' '.join(keys)}\r\n".encode(), expect)
