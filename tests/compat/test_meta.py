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
BAD_J = b"CLIENT_ERROR invalid numeric initial value\r\n"
BAD_D = b"CLIENT_ERROR invalid numeric delta value\r\n"
BAD_M = b"CLIENT_ERROR incorrect length for M token\r\n"
BAD_MODE = b"CLIENT_ERROR invalid mode for ma M token\r\n"
ONE_LETTER = "1.6.18 counted the letters behind M, now the first is looked at"
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
    Case("u touches without a trace", SET + b"mg k u T90\r\nmg k h t\r\n", HD + HD + b"HD h0 t90\r\n"),
    Case("T before t", SET + b"mg k T100 t\r\n", HD + b"HD t100\r\n"),
    Case("t before T", SET + b"mg k t T100\r\nmg k t\r\n", HD + b"HD t-1\r\nHD t100\r\n"),
    Case("N makes an item and wins once", b"mg k N30 t s v\r\nmg k v\r\n", b"VA 0 t30 s0 W\r\n\r\nVA 0 Z\r\n\r\n"),
    Case("R wins once", b"ms k 1 T30\r\na\r\nmg k R60\r\nmg k R60\r\n", HD + b"HD W\r\nHD Z\r\n"),
    Case("R leaves what lives longer", b"ms k 1 T90\r\na\r\nmg k R60\r\n", HD + HD),
    Case("R leaves what lives forever", SET + b"mg k R60\r\n", HD + HD),
    Case("classic commands see it", SET + b"get k\r\n", HD + b"VALUE k 5 3\r\nabc\r\nEND\r\n"),
    Case("a noop takes any words", b"mn foo bar\r\n", b"MN\r\n"),
    Case("an empty opaque", b"mg k O\r\n", b"EN O\r\n"),
    Case("a size without a value", SET + b"mg k s\r\n", HD + b"HD s3\r\n"),
    Case("T0 makes an item stay", b"ms k 1 T50\r\na\r\nmg k T0 t\r\n", HD + b"HD t-1\r\n"),
    Case("a T below zero shows a last time", SET + b"mg k T-1 v\r\nmg k\r\n", HD + b"VA 3\r\nabc\r\nEN\r\n"),
    Case("N0 makes an item that stays", b"mg k N0 t\r\nmg k t\r\n", b"HD t-1 W\r\nHD t-1 Z\r\n"),
    Case("t before N", b"mg k t N30\r\nmg k t\r\n", b"HD t-1 W\r\nHD t30 Z\r\n"),
    Case("N before T", b"mg k N30 T90 t\r\nmg k t\r\n", b"HD t90 W\r\nHD t90 Z\r\n"),
    Case("T before N", b"mg k T90 N30\r\nmg k t\r\n", b"HD W\r\nHD t30 Z\r\n"),
    Case("N reads what it makes", b"mg k N30 h\r\nmg k h\r\nmg z N30 u\r\nmg z h\r\n", b"HD h0 W\r\nHD h1 Z\r\nHD W\r\nHD h0 Z\r\n"),
    Case("N of an item that is there is nothing", SET + b"mg k N30 t\r\n", HD + b"HD t-1\r\n"),
    Case("a win is not hidden by q", b"mg k N30 q v\r\nmn\r\n", b"VA 0 W\r\n\r\nMN\r\n"),
    Case("R counts what T left", b"ms k 1 T30\r\na\r\nmg k T90 R60\r\nmg k R60 T90\r\n", HD + HD + HD),
    Case("R before T", b"ms k 1 T30\r\na\r\nmg k R60 T90\r\n", HD + b"HD W\r\n"),
    Case("R of just what is left", b"ms k 1 T30\r\na\r\nmg k R30\r\nmg k R31\r\n", HD + HD + b"HD W\r\n"),
    Case("R0 never wins", b"ms k 1 T30\r\na\r\nmg k R0\r\n", HD + HD),
    Case("flags of other commands are nothing to it", SET + b"mg k F5 I J5 D5 MI P L v\r\n", HD + b"VA 3\r\nabc\r\n"),
    Case("numbers of other commands must be some", b"mg k Jx\r\nmg k J\r\nmg k Dx\r\n", BAD_J * 2 + BAD_D),
    Case("a number missing", b"mg k N\r\nmg k R\r\nmg k C\r\nmg k T1x\r\n", BAD_TOKEN * 4),
    Case("a number beyond 64 bits", b"mg k C18446744073709551616\r\n", BAD_TOKEN),
    Case(
        "a time beyond 32 bits",
        b"mg k T2147483648\r\nmg k N2147483648\r\nmg k R2147483648\r\nmg k T2147483647\r\n",
        BAD_TOKEN * 3 + b"EN\r\n",
        old=b"EN\r\nHD W\r\nEN\r\nEN\r\n",
        why="1.6.18 cut it to 32 bits, now it is checked",
    ),
    Case("M without a letter", b"mg k M\r\n", b"EN\r\n", old=BAD_M, why=ONE_LETTER),
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
    Case("P with N on nothing", b"ms k 1 MP N30 F7\r\nd\r\nmg k v t f\r\n", HD + b"VA 1 t30 f7\r\nd\r\n", old=b"NS\r\nEN\r\n", why=LATER),
    Case("A keeps the expiry", SET + b"ms k 1 MA T30\r\nd\r\nmg k v t f\r\n", HD + HD + b"VA 4 t-1 f5\r\nabcd\r\n"),
    Case("S stores", SET + b"ms k 1 MS\r\nd\r\nmg k v\r\n", HD + HD + b"VA 1\r\nd\r\n"),
    Case("a mode in small letters", b"ms k 1 Me\r\na\r\nms k 1 Ms\r\na\r\n", b"CLIENT_ERROR invalid mode for ms M token\r\n" * 2),
    Case("no mode behind M", b"ms k 1 M\r\na\r\n", b"CLIENT_ERROR invalid mode for ms M token\r\n", old=BAD_M, why=ONE_LETTER),
    Case("a mode is one letter", SET + b"ms k 1 MEfoo\r\na\r\n", HD + b"NS\r\n", old=HD + BAD_M, why=ONE_LETTER),
    Case("T", b"ms k 1 T30\r\nd\r\nmg k t\r\nms k 1 T0\r\nd\r\nmg k t\r\nms k 1 T-1\r\nd\r\nmg k t\r\n",
         HD + b"HD t30\r\n" + HD + b"HD t-1\r\n" + HD + b"EN\r\n"),
    Case("F beyond 32 bits is cut", b"ms k 1 F4294967296\r\na\r\nmg k f\r\n", HD + b"HD f0\r\n"),
    Case("F of no number", b"ms k 1 F18446744073709551616\r\na\r\nms k 1 F-1\r\na\r\nms k 1 F\r\na\r\n", BAD_LINE * 3),
    Case("C0 on something", SET + b"ms k 1 C0\r\nb\r\n", HD + b"EX\r\n"),
    Case("C0 on something, with I", SET + b"ms k 1 C0 I\r\nb\r\nms k 1 C0 I MR\r\nb\r\nmg k v\r\n", HD + b"EX\r\nEX\r\nVA 3\r\nabc\r\n"),
    Case("C0 is any CAS to what is appended to", SET + b"ms k 1 MA C0\r\nd\r\nms k 1 MP C0 I\r\ne\r\nmg k v\r\n", HD + HD + HD + b"VA 5\r\neabcd\r\n"),
    Case("C1 is not", SET + b"ms k 1 MA C1\r\nd\r\nms k 1 MP C1 I\r\ne\r\nmg k v\r\n", HD + b"EX\r\nEX\r\nVA 3\r\nabc\r\n"),
    Case("a refused add reads nothing", SET + b"add k 0 0 1\r\nx\r\nms k 1 ME\r\nx\r\nmg k h\r\n", HD + b"NOT_STORED\r\nNS\r\nHD h0\r\n"),
    Case("C0 on nothing", b"ms k 1 C0\r\nb\r\n", b"NF\r\n"),
    Case("C with E stores nothing over something", SET + b"ms k 1 C1 ME\r\nb\r\n", HD + b"NS\r\n"),
    Case("C with R on nothing", b"ms k 1 C1 MR\r\nb\r\n", b"NF\r\n"),
    Case("q hides no failure", SET + b"ms k 1 q C1\r\na\r\nms z 1 q C1\r\na\r\nms z 1 q MR\r\na\r\nmn\r\n", HD + b"EX\r\nNF\r\nNS\r\nMN\r\n"),
    Case("a refusal shows key, opaque and no CAS", SET + b"ms k 1 ME c k O1\r\nb\r\nms k 1 C1 k c\r\nb\r\n", HD + b"NS c0 kk O1\r\nEX kk c0\r\n"),
    Case("a refusal shows the size of what was sent", b"ms k 1 C1 s\r\nb\r\n", b"NF s1\r\n", old=b"NF\r\n", why=LATER),
    Case("flags of other commands are nothing to it", b"ms k 1 f h l t u v J5 D3 R4 P L\r\na\r\nmg k v t f\r\n", HD + b"VA 1 t-1 f0\r\na\r\n"),
    Case("numbers of other commands must be some", b"ms k 1 Jx\r\na\r\nms k 1 Dx\r\na\r\n", BAD_J + BAD_D),
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
    Case("q hides no failure", SET + b"md k q C1\r\nmd z q\r\nmd z q k O1\r\n", HD + b"EX\r\nNF\r\nNF kz O1\r\n"),
    Case("C0 is a CAS like any other", SET + b"md k C0\r\n", HD + b"EX\r\n"),
    Case("T without I deletes", SET + b"md k T30\r\nmg k\r\n", HD + HD + b"EN\r\n"),
    Case("flags of other commands are nothing to it", SET + b"md k f h l s t u v c J1 D1 R1 N1 F1 P L\r\nmg k\r\n", HD + HD + b"EN\r\n"),
    Case("get sees what is stale", SET + b"md k I\r\nget k\r\nmg k v\r\n", HD + HD + b"VALUE k 5 3\r\nabc\r\nEND\r\nVA 3 X W\r\nabc\r\n"),
    Case("an append freshens what is stale", SET + b"md k I\r\nappend k 0 0 1\r\nx\r\nmg k v\r\n", HD + HD + b"STORED\r\nVA 4\r\nabcx\r\n"),
    Case("what is stale is there for add", SET + b"md k I\r\nadd k 0 0 1\r\na\r\nms k 1 ME\r\na\r\n", HD + HD + b"NOT_STORED\r\nNS\r\n"),
    *(
        Case(f"a wrong flag: {flag.decode()}", b"md k " + flag + b"\r\n", says, old=BAD_MA, why="1.6.18 said the same of any flag")
        for flag, says in (
            (b"q q", b"CLIENT_ERROR duplicate flag\r\n"),
            (b"!", BAD_LINE),
            (b"w", b"CLIENT_ERROR invalid flag\r\n"),
            (b"Tx", BAD_TOKEN),
            (b"Cx", BAD_TOKEN),
        )
    ),
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
    *(
        Case(name, b"ms k 3 F5 T90\r\nabc\r\n" + sent + b"mg k s f t v\r\n", HD + HD + says, old=HD + BAD_MA + b"VA 3 s3 f5 t90\r\nabc\r\n", why=LATER)
        for name, sent, says in (
            ("x makes an item that stays", b"md k x\r\n", b"VA 0 s0 f0 t-1\r\n\r\n"),
            ("x with T and F", b"md k x T30 F7\r\n", b"VA 0 s0 f7 t30\r\n\r\n"),
            ("x with I", b"md k x I T30\r\n", b"VA 0 s0 f0 t30 X W\r\n\r\n"),
        )
    ),
    Case(
        "x freshens what is stale",
        SET + b"md k I\r\nmg k\r\nmd k x\r\nmg k s\r\n",
        HD + HD + b"HD X W\r\n" + HD + b"HD s0\r\n",
        old=HD + HD + b"HD X W\r\n" + BAD_MA + b"HD s3 Z X\r\n",
        why=LATER,
    ),
    Case("I leaves it as read as it was", SET + b"mg k\r\nmd k I\r\nmg k h\r\n", HD + HD + HD + b"HD h1 X W\r\n"),
)
def test_delete(client, case):
    client.play(case)


@table(
    Case("counts by one", NUM + b"ma n v\r\nma n v\r\n", HD + b"VA 2\r\n11\r\nVA 2\r\n12\r\n"),
    Case("counts without a value", NUM + b"ma n\r\n", HD + HD),
    Case("modes", NUM + b"ma n MI v\r\nma n M+ v\r\nma n MD v\r\nma n M- v\r\n", HD + b"VA 2\r\n11\r\nVA 2\r\n12\r\nVA 2\r\n11\r\nVA 2\r\n10\r\n"),
    Case("modes in small letters", NUM + b"ma n Mi v\r\nma n Md v\r\n", HD + BAD_MODE * 2),
    Case("no mode behind M", NUM + b"ma n M\r\n", HD + BAD_MODE, old=HD + BAD_MA, why=ONE_LETTER),
    Case("a mode is one letter", NUM + b"ma n MDECR v\r\n", HD + b"VA 1\r\n9\r\n", old=HD + BAD_MA, why=ONE_LETTER),
    Case("counts by nothing", NUM + b"ma n D0 v\r\n", HD + b"VA 2\r\n10\r\n"),
    Case("stops at 0 and wraps", NUM + b"ma n MD D18446744073709551615 v\r\nma n N0 J1 D18446744073709551615 v\r\nma n v\r\n",
         HD + b"VA 1\r\n0\r\nVA 20\r\n18446744073709551615\r\nVA 1\r\n0\r\n"),
    Case("a delta beyond 64 bits", NUM + b"ma n D18446744073709551616\r\nma n D-1\r\n", HD + BAD_MA * 2),
    Case("t before T", NUM + b"ma n t T90\r\nma n t\r\n", HD + b"HD t-1\r\nHD t90\r\n"),
    Case("t before N", b"ma n t N30\r\nma n t\r\n", b"HD t-1\r\nHD t30\r\n"),
    Case("T after N", b"ma n N30 T90 t\r\nma n t\r\n", b"HD t90\r\nHD t90\r\n"),
    Case("C0 is any CAS", NUM + b"ma n C0 v\r\n", HD + b"VA 2\r\n11\r\n"),
    Case("q hides no failure", NUM + b"ma z q\r\nma z q k O1\r\nma n q C1\r\n", HD + b"NF\r\nNF kz O1\r\nEX\r\n"),
    Case("an opaque too long is named", b"ma n O" + b"1" * 32 + b"\r\n", b"CLIENT_ERROR opaque token too long\r\n"),
    Case("what it does not show", NUM + b"ma n v s f\r\n", HD + b"VA 2\r\n11\r\n"),
    Case("counts by D", NUM + b"ma n D90 v\r\n", HD + b"VA 3\r\n100\r\n"),
    Case("counts down", NUM + b"ma n MD v\r\nma n M- v D20\r\nget n\r\n",
         HD + b"VA 1\r\n9\r\nVA 1\r\n0\r\nVALUE n 0 2\r\n0 \r\nEND\r\n"),
    Case("a miss", b"ma n v\r\nma n q\r\n", b"NF\r\nNF\r\n"),
    Case("a miss with N begins", b"ma n N30 J13 v t\r\nma n v\r\n", b"VA 2 t30\r\n13\r\nVA 2\r\n14\r\n"),
    Case("T sets the expiry", NUM + b"ma n T50 t\r\n", HD + b"HD t50\r\n"),
    Case("q hides a success", NUM + b"ma n q v\r\nmn\r\n", HD + b"MN\r\n"),
    Case("q shows the item that N makes", b"ma n N30 q\r\nma n N30 q v\r\nmn\r\n", HD + b"MN\r\n"),
    Case("what is empty is no number, whatever its CAS", b"ms n 0\r\n\r\nma n C1\r\n", HD + NO_NUMBER),
    Case("a longer number is a new item", NUM + b"mg n\r\nma n D90\r\nmg n h\r\n", HD * 3 + b"HD h0\r\n"),
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
    Case("no base64 for a delete", b"md YQ b\r\n", b"CLIENT_ERROR error decoding key\r\n", old=BAD_MA, why="1.6.18 said the same of any flag"),
    Case("no base64 for a set", b"ms YQ 1 b\r\na\r\nma YQ b\r\n", b"CLIENT_ERROR error decoding key\r\n" + BAD_MA),
    Case("an opaque of 32 for a set", b"ms k 1 O" + b"1" * 32 + b"\r\na\r\nmn\r\n", b"CLIENT_ERROR opaque token too long\r\nMN\r\n"),
    Case("an opaque of 32 for a get", b"mg k O" + b"1" * 32 + b"\r\n", b"CLIENT_ERROR opaque token too long\r\n"),
    Case("17 flags", b"mg k c f h k l O1 q s t u v I P L T1 R1 C1\r\n", b""),
    Case("19 flags", b"mg k c f h k l O1 q s t u v I P L T1 R1 C1 F1 J1\r\n", b"CLIENT_ERROR options flags are too long\r\n"),
    Case("16 flags of a set", b"ms k 1 c f h k l O1 q s t u v I P L T1 R1\r\na\r\nmg k\r\n", HD),
    Case(
        "18 flags of a set",
        b"ms k 1 c f h k l O1 q s t u v I P L T1 R1 F1 J1\r\na\r\n",
        b"CLIENT_ERROR options flags are too long\r\n",
        old=b"CLIENT_ERROR options flags too long\r\nERROR\r\n",
        why="it was reworded, and the block is swallowed now",
    ),
    Case("no words for any", b"md\r\nma\r\nms\r\nmg \r\n", BAD_LINE * 4, old=b"ERROR\r\n" * 4, why="too few arguments were an unknown command"),
    Case("no key to debug", b"me\r\nme \r\n", BAD_LINE * 2),
    Case("no length for a set", b"ms k\r\n", BAD_LINE),
    Case("no flag is wrong to a debug", b"me k x y z\r\nme k !\r\n", b"EN\r\n" * 2),
    Case("no base64 for a debug", b"me YQ b x\r\n", BAD_LINE),
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
    Case("every command takes it", b"ms YQ== 1 b\r\n1\r\nma YQ== b k v\r\nmd YQ== b k O1\r\nmg a\r\n",
         HD + b"VA 1 kYQ== b\r\n2\r\nHD kYQ== b O1\r\nEN\r\n", ),
    Case("a miss shows it", b"mg YQ== b k\r\nmd YQ== b k\r\nma YQ== b k\r\n", b"EN kYQ== b\r\nNF kYQ== b\r\nNF kYQ== b\r\n"),
    Case("a key of 248 characters", b"mg " + b"QUFB" * 62 + b" b k\r\n", b"EN k" + b"QUFB" * 62 + b" b\r\n"),
    Case("bytes that are no text", b"ms AAEC/w== 1 b\r\na\r\nmg AAEC/w== b k v\r\n", HD + b"VA 1 kAAEC/w== b\r\na\r\n"),
)
def test_binary_keys(client, case):
    client.play(case)


@pytest.mark.parametrize("key", [b"YQ", b"Y===", b"====", b"Y!==", b"YQ=a", b"YQ==YQ==", b"QUFB" * 63])
def test_a_key_that_is_no_base64_is_refused(client, key):
    if key in (b"YQ=a", b"YQ==YQ==") and client.server.binary.resolve().name != "paircached":
        pytest.skip("memcached reads what stands before the padding")
    says = BAD_LINE if len(key) > 250 else b"CLIENT_ERROR error decoding key\r\n"
    client.ask(b"mg %s b\r\n" % key, says)


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


def test_counting_leaves_an_item_as_read_as_it_was(client):
    # One after another: memcached leaves alone what a reply under way still holds.
    for sent, says in (
        (NUM + b"ma n\r\n", HD * 2),
        (b"mg n h\r\n", b"HD h0\r\n"),
        (b"ma n\r\n", HD),
        (b"incr n 1\r\n", b"13\r\n"),
        (b"mg n h\r\n", b"HD h1\r\n"),
    ):
        client.ask(sent, says)


def test_what_x_empties_keeps_its_cas_but_with_I(client):
    if client.server.version < (1, 6, 45):
        pytest.skip(LATER)
    client.ask(SET, HD)
    before = cas(client)
    client.ask(b"md k x\r\n", HD)
    assert cas(client) == before
    client.ask(b"md k x E9\r\nmg k c\r\nmd k x I\r\n", HD + b"HD c9\r\n" + HD)
    assert cas_of_stale(client) > before


def test_debug_shows_an_item_without_reading_it(client):
    client.ask(b"me k\r\n", b"EN\r\n")
    client.ask(b"ms k 3 T100\r\nabc\r\n", HD)
    line = rb"ME k exp=-100 la=0 cas=\d+ fetch=%s cls=1 size=\d+\r\n"
    assert re.fullmatch(line % b"no", client.talk(b"me k\r\n"))
    assert re.fullmatch(line % b"no", client.talk(b"me k\r\n"))
    client.ask(b"mg k\r\n", HD)
    assert re.fullmatch(line % b"yes", client.talk(b"me k\r\n"))


@pytest.mark.parametrize("flags", [b"", b" ME", b" MA", b" MR", b" C1", b" q"])
def test_a_value_too_large_is_refused_and_the_old_one_gone(client, flags):
    client.ask(SET, HD)
    big = b"x" * (1 << 20)
    client.ask(b"ms k %d%s\r\n%s\r\nmg k\r\n" % (len(big), flags, big), b"SERVER_ERROR object too large for cache\r\nEN\r\n")


def test_me_is_counted(client):
    before = int(client.stats()["cmd_meta"])
    client.talk(b"mg k\r\nms k 1\r\n1\r\nma k\r\nme k\r\nmd k\r\nme k\r\nmn\r\n")
    assert int(client.stats()["cmd_meta"]) == before + 2


@pytest.mark.parametrize(
    "before, command, moved",
    [
        (b"", b"md k", {"delete_misses": 1}),
        (b"ms k 1\r\n1\r\n", b"md k", {"delete_hits": 1}),
        (b"ms k 1\r\n1\r\n", b"md k C999", {"delete_misses": 1}),
        (b"ms k 1\r\n1\r\n", b"md k I", {}),
        (b"ms k 1\r\n1\r\n", b"mg k", {"cmd_get": 1, "get_hits": 1}),
        (b"ms k 1\r\n1\r\n", b"mg k T9", {"cmd_touch": 1, "touch_hits": 1}),
        (b"", b"mg k", {"cmd_get": 1, "get_misses": 1}),
        (b"ms k 1\r\n1\r\n", b"ma k", {"incr_hits": 1}),
        (b"", b"ma k MD", {"decr_misses": 1}),
        (b"", b"ma k N0", {}),
        (b"", b"mg k T9", {"cmd_get": 1, "get_misses": 1}),
        (b"", b"mg k N30", {"cmd_get": 1, "get_hits": 1}),
        (b"", b"mg k N30 T9", {"cmd_touch": 1, "touch_hits": 1}),
        (b"ms k 1\r\n1\r\n", b"ms k 1 C999\r\n2", {"cmd_set": 1, "cas_badval": 1}),
        (b"ms k 1\r\n1\r\n", b"ms k 1 C0 I\r\n2", {"cmd_set": 1, "cas_badval": 1}),
        (b"ms k 1\r\n1\r\nmd k I\r\n", b"ms k 1 C1 I\r\n2", {"cmd_set": 1, "cas_hits": 1}),
        (b"ms k 1\r\n1\r\n", b"ms k 1 C1 MA\r\n2", {"cmd_set": 1}),
        (b"", b"ms k 1\r\n1x", {"cmd_set": 1}),
    ],
)
def test_meta_commands_are_counted_as_what_they_do(launch, before, command, moved):
    names = ("cmd_get", "get_hits", "get_misses", "cmd_touch", "touch_hits", "touch_misses", "delete_hits", "delete_misses",
             "incr_hits", "incr_misses", "decr_hits", "decr_misses", "cmd_set", "cas_hits", "cas_badval")  # fmt: skip
    with launch().client() as client:
        client.talk(before)
        start = client.stats()
        client.talk(command + b"\r\n")
        end = client.stats()
    found = {name: int(end[name]) - int(start[name]) for name in names}
    assert {name: by for name, by in found.items() if by} == moved


def test_debug_shows_the_key_as_it_was_stored(client):
    client.ask(b"ms Zm9v 1 b\r\na\r\nms bar 1\r\na\r\n", HD * 2)
    assert client.talk(b"me foo\r\n").startswith(b"ME Zm9v ")
    # Behind b memcached wants one more word.
    assert client.talk(b"me Zm9v b x\r\n").startswith(b"ME Zm9v ")
    assert client.talk(b"me YmFy b x\r\n").startswith(b"ME bar ")
