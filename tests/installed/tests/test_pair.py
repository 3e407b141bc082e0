"""That the node has a peer, and that what is written on one is on the other."""

import node
from node import Client, NodeTest


class Pair(NodeTest):
    def setUp(self):
        super().setUp()
        self.figures = self.client.stats(b"replication")
        if self.figures.get("replication_state") == "disabled":
            self.skipTest("the daemon has no peer")

    def test_the_pair_is_in_sync_and_this_node_holds_everything(self):
        def whole():
            figures = self.client.stats(b"replication")
            return (figures["replication_state"], figures["replication_filled"]) == ("in-sync", "1")

        self.eventually("the node is in sync and filled", whole)

    def test_what_one_takes_arrives_on_the_other_and_goes_with_it(self):
        if node.PEER is None:
            self.skipTest("--peer does not say where the other node is")
        with Client(node.PEER) as peer:
            for one, other in [(self.client, peer), (peer, self.client)]:
                get = b"get " + self.name + b"\r\n"
                there = b"VALUE " + self.name + b" 3 5\r\nhello\r\nEND\r\n"
                self.assertEqual(one.ask(b"set " + self.name + b" 3 60 5\r\nhello\r\n"), b"STORED\r\n")
                self.eventually("the value is on the other node", lambda: other.ask(get, b"END\r\n") == there)
                self.assertEqual(one.ask(b"delete " + self.name + b"\r\n"), b"DELETED\r\n")
                self.eventually("it is gone there too", lambda: other.ask(get, b"END\r\n") == b"END\r\n")
