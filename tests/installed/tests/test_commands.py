"""What a client of memcached says, and what it must hear."""

import re
import struct

from node import Client, NodeTest


class Text(NodeTest):
    def test_what_is_set_is_there_until_it_is_deleted(self):
        self.says(b"set KEY 7 60 5\r\nhello\r\n", b"STORED\r\n")
        self.says(b"get KEY\r\n", b"VALUE KEY 7 5\r\nhello\r\nEND\r\n")
        self.says(b"delete KEY\r\n", b"DELETED\r\n")
        self.says(b"get KEY\r\n", b"END\r\n")

    def test_add_and_replace_look_whether_the_key_is_there(self):
        self.says(b"replace KEY 0 60 1\r\n1\r\n", b"NOT_STORED\r\n")
        self.says(b"add KEY 0 60 1\r\n2\r\n", b"STORED\r\n")
        self.says(b"add KEY 0 60 1\r\n3\r\n", b"NOT_STORED\r\n")
        self.says(b"replace KEY 0 60 1\r\n4\r\n", b"STORED\r\n")
        self.says(b"get KEY\r\n", b"VALUE KEY 0 1\r\n4\r\nEND\r\n")

    def test_append_and_prepend_join_values(self):
        self.says(b"set KEY 0 60 1\r\nb\r\n", b"STORED\r\n")
        self.says(b"append KEY 0 0 1\r\nc\r\n", b"STORED\r\n")
        self.says(b"prepend KEY 0 0 1\r\na\r\n", b"STORED\r\n")
        self.says(b"get KEY\r\n", b"VALUE KEY 0 3\r\nabc\r\nEND\r\n")

    def test_numbers_go_up_and_down_and_not_below_nothing(self):
        self.says(b"set KEY 0 60 2\r\n10\r\n", b"STORED\r\n")
        self.says(b"incr KEY 5\r\n", b"15\r\n")
        self.says(b"decr KEY 20\r\n", b"0\r\n")
        self.says(b"incr KEY x\r\n", b"CLIENT_ERROR invalid numeric delta argument\r\n")

    def test_cas_stores_only_what_nobody_changed(self):
        self.says(b"set KEY 0 60 1\r\n1\r\n", b"STORED\r\n")
        token = re.search(rb" (\d+)\r\n1\r\n", self.client.ask(b"gets " + self.name + b"\r\n", b"END\r\n"))[1]
        self.says(b"set KEY 0 60 1\r\n2\r\n", b"STORED\r\n")
        self.says(b"cas KEY 0 60 1 " + token + b"\r\n3\r\n", b"EXISTS\r\n")

    def test_an_item_that_expired_is_gone(self):
        self.says(b"set KEY 0 -1 1\r\n1\r\n", b"STORED\r\n")
        self.says(b"get KEY\r\n", b"END\r\n")

    def test_touch_and_gat_change_when_an_item_expires(self):
        self.says(b"set KEY 0 60 1\r\n1\r\n", b"STORED\r\n")
        self.says(b"touch KEY 30\r\n", b"TOUCHED\r\n")
        self.says(b"gat 30 KEY\r\n", b"VALUE KEY 0 1\r\n1\r\nEND\r\n")

    def test_requests_may_come_all_at_once(self):
        count = 1000
        answer = self.client.ask(b"set KEY 0 60 1\r\n1\r\n".replace(b"KEY", self.name) * count, b"STORED\r\n" * count)
        self.assertEqual(answer, b"STORED\r\n" * count)

    def test_a_value_of_half_the_largest_size_comes_back_as_it_was(self):
        largest = int(self.client.stats(b"settings")["item_size_max"])
        # Every byte there is; random ones have KEY among them once in thirty runs.
        value = bytes(range(256)) * (min(largest // 2, 1 << 20) // 256)
        self.says(b"set KEY 0 60 %d\r\n" % len(value) + value + b"\r\n", b"STORED\r\n")
        self.says(b"get KEY\r\n", b"VALUE KEY 0 %d\r\n" % len(value) + value + b"\r\nEND\r\n")

    def test_nonsense_is_refused_and_the_connection_goes_on(self):
        self.says(b"no such command\r\n", b"ERROR\r\n")
        self.says(b"get " + b"k" * 251 + b"\r\n", b"CLIENT_ERROR bad command line format\r\n")
        self.says(b"set KEY 0 60 x\r\n", b"CLIENT_ERROR bad command line format\r\n")
        self.assertTrue(self.client.ask(b"version\r\n").startswith(b"VERSION 1.6."))


class Meta(NodeTest):
    def test_meta_commands_set_get_and_delete(self):
        self.says(b"ms KEY 5 T60\r\nhello\r\n", b"HD\r\n")
        self.says(b"mg KEY v s\r\n", b"VA 5 s5\r\nhello\r\n")
        self.says(b"md KEY q\r\nmn\r\n", b"MN\r\n")
        self.says(b"mg KEY v\r\n", b"EN\r\n")


class Binary(NodeTest):
    """The first byte of a connection chooses the protocol, unless -B does."""

    REQUEST, ANSWER = 0x80, 0x81

    def setUp(self):
        super().setUp()
        if self.client.stats(b"settings").get("binding_protocol") == "ascii":
            self.skipTest("the daemon was told to speak text alone (-B ascii)")
        self.client.socket.close()
        self.client = Client()
        self.addCleanup(self.client.socket.close)

    def request(self, opcode, key=b"", extras=b"", value=b""):
        body = extras + key + value
        head = struct.pack("!BBHBBHIIQ", self.REQUEST, opcode, len(key), len(extras), 0, 0, len(body), 7, 0)
        self.client.socket.sendall(head + body)
        magic, _, keys, extra, _, status, length, opaque, _ = struct.unpack("!BBHBBHIIQ", self.client.read(24))
        self.assertEqual((magic, opaque), (self.ANSWER, 7))
        return status, self.client.read(length)[extra + keys:]

    def test_set_and_get(self):
        self.assertEqual(self.request(1, self.name, struct.pack("!II", 0, 60), b"hello"), (0, b""))
        self.assertEqual(self.request(0, self.name), (0, b"hello"))
        self.assertEqual(self.request(4, self.name), (0, b""))
        self.assertEqual(self.request(0, self.name)[0], 1)


