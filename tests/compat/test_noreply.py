"""noreply: silence for every reply of a command, errors included."""

from .wire import Case, stored, table

HELD = b"STORED\r\n"
SWALLOWED = "the data block is swallowed now"
FEW = "too few arguments were an unknown command before the parser was rewritten"
BAD_LINE = b"CLIENT_ERROR bad command line format\r\n"


def shows(value, flags=0):
    return b"VALUE k %d %d\r\n%s\r\nEND\r\n" % (flags, len(value), value)


@table(
    Case("set", b"set k 0 0 1 noreply\r\na\r\nget k\r\n", shows(b"a")),
    Case("add", b"add k 0 0 1 noreply\r\na\r\nget k\r\n", shows(b"a")),
    Case("add that stores nothing", stored("k", "a") + b"add k 0 0 1 noreply\r\nb\r\nget k\r\n", HELD + shows(b"a")),
    Case("replace", stored("k", "a") + b"replace k 0 0 1 noreply\r\nb\r\nget k\r\n", HELD + shows(b"b")),
    Case("replace that stores nothing", b"replace k 0 0 1 noreply\r\nb\r\nget k\r\n", b"END\r\n"),
    Case("append", stored("k", "a") + b"append k 0 0 1 noreply\r\nb\r\nget k\r\n", HELD + shows(b"ab")),
    Case("prepend", stored("k", "a") + b"prepend k 0 0 1 noreply\r\nb\r\nget k\r\n", HELD + shows(b"ba")),
    Case("cas that finds nothing", b"cas k 0 0 1 1 noreply\r\nb\r\nget k\r\n", b"END\r\n"),
    Case("cas that does not match", stored("k", "a") + b"cas k 0 0 1 0 noreply\r\nb\r\nget k\r\n", HELD + shows(b"a")),
    Case("delete", stored("k", "a") + b"delete k noreply\r\nget k\r\n", HELD + b"END\r\n"),
    Case("delete with a 0", stored("k", "a") + b"delete k 0 noreply\r\nget k\r\n", HELD + b"END\r\n"),
    Case("delete of a miss", b"delete k noreply\r\n", b""),
    Case("incr", stored("k", "1") + b"incr k 4 noreply\r\nget k\r\n", HELD + shows(b"5")),
    Case("decr", stored("k", "5") + b"decr k 4 noreply\r\nget k\r\n", HELD + shows(b"1")),
    Case("incr of a miss", b"incr k 1 noreply\r\n", b""),
    Case("incr of what is no number", stored("k", "a") + b"incr k 1 noreply\r\n", HELD),
    Case("incr by what is no number", stored("k", "1") + b"incr k x noreply\r\nget k\r\n", HELD + shows(b"1")),
    Case("touch", stored("k", "1") + b"touch k -1 noreply\r\nget k\r\n", HELD + b"END\r\n"),
    Case("touch of a miss", b"touch k 0 noreply\r\n", b""),
    Case("touch with a bad expiry", b"touch k x noreply\r\n", b""),
    Case("flush_all", stored("k", "1") + b"flush_all noreply\r\nget k\r\n", HELD + b"END\r\n"),
    Case("flush_all with a 0", stored("k", "1") + b"flush_all 0 noreply\r\nget k\r\n", HELD + b"END\r\n"),
    Case("verbosity", b"verbosity 0 noreply\r\n", b""),
    Case(
        "set with bad flags",
        b"set k x 0 1 noreply\r\na\r\nget k\r\n",
        b"END\r\n",
        old=b"ERROR\r\nEND\r\n",
        why="the data block is swallowed now",
    ),
    Case(
        "a value too large",
        stored("k", "a") + b"add k 0 0 1048600 noreply\r\n" + b"x" * 1048600 + b"\r\nget k\r\n",
        HELD + shows(b"a"),
    ),
    Case(
        "it is the last word only",
        b"set k 0 0 1 noreply x\r\na\r\n",
        b"STORED\r\n",
        old=b"ERROR\r\nERROR\r\n",
        why="1.6.18 took no seventh word",
    ),
    Case("the key of a delete", stored("noreply", "a") + b"delete noreply\r\nget noreply\r\n", HELD + b"END\r\n",
         old=HELD + b"DELETED\r\nEND\r\n", why="1.6.18 looked for it behind the key only"),
    Case("an unknown command", b"nosuch noreply\r\n", b"", old=b"ERROR\r\n", why="1.6.18 looked for it in commands that it knew"),
    Case("a key too long", b"delete %s noreply\r\nincr %s 1 noreply\r\ntouch %s 0 noreply\r\n" % ((b"k" * 251,) * 3), b""),
    Case("set with a key too long", b"set %s 0 0 1 noreply\r\na\r\n" % (b"k" * 251), b"", old=b"ERROR\r\n", why=SWALLOWED),
    Case("cas with a bad number", b"cas k 0 0 1 x noreply\r\na\r\n", b"", old=b"ERROR\r\n", why=SWALLOWED),
    Case("a set too large takes the old value along", stored("k", "a") + b"set k 0 0 1048600 noreply\r\n" + b"x" * 1048600
         + b"\r\nget k\r\n", HELD + b"END\r\n"),
    Case("flush_all with no number", b"flush_all x noreply\r\n", b""),
    Case("commands with too few words", b"incr noreply\r\ntouch noreply\r\nset noreply\r\nset k 0 noreply\r\n", BAD_LINE * 4,
         old=b"ERROR\r\n" * 4, why=FEW),
    Case("it may stand in the place of a number", b"incr k noreply\r\ntouch k noreply\r\n", b""),
    Case("to stats it is a word", b"stats noreply\r\nstats reset noreply\r\n", b"ERROR\r\nRESET\r\n"),
    Case("to mn it is nothing", b"mn noreply\r\n", b"MN\r\n"),
    Case("to mg it is a flag", b"mg k noreply\r\n", b"CLIENT_ERROR invalid flag\r\n"),
    Case("capitals are another word", b"set k 0 0 1 NOREPLY\r\na\r\n", b"STORED\r\n"),
    Case(
        "to get it is a key", stored("noreply", "a") + b"get noreply\r\n", HELD + b"VALUE noreply 0 1\r\na\r\nEND\r\n"
    ),
    Case("to gets it is a key", b"gets noreply\r\n", b"END\r\n"),
    Case(
        "to gat it is a key", stored("noreply", "a") + b"gat 0 noreply\r\n", HELD + b"VALUE noreply 0 1\r\na\r\nEND\r\n"
    ),
    Case(
        "a set of four words and it", b"set k 0 0 noreply\r\n", BAD_LINE, old=b"", why="1.6.18 looked for noreply first"
    ),
    Case("quit hangs up all the same", b"quit noreply\r\n", b"", closed=True),
)
def test_silence(client, case):
    client.play(case)


def test_a_matching_cas_is_silent_and_stores(client):
    client.ask(stored("k", "a"), HELD)
    client.send(b"gets k\r\n")
    number = client.line().split()[4]
    client.read_until(b"END\r\n")
    client.ask(b"cas k 0 0 1 %s noreply\r\nb\r\nget k\r\n" % number, shows(b"b"))


def test_ten_thousand_silent_sets_all_arrive(client):
    client.send(b"".join(b"set k%d 0 0 4 noreply\r\n%04d\r\n" % (number, number) for number in range(10_000)))
    client.ask(
        b"get k0 k5000 k9999\r\n", b"".join(b"VALUE k%d 0 4\r\n%04d\r\n" % (n, n) for n in (0, 5000, 9999)) + b"END\r\n"
    )
