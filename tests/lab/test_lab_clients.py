"""What a client of the pair sees while both nodes are well."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from nodes import wait_until


def test_what_a_raw_session_sets_on_one_node_is_read_on_the_other(pair):
    assert pair.node1.talk("set name 0 0 4\njack\n", end="STORED\n") == "STORED\n"
    wait_until(
        "node2 answers with node1's value",
        lambda: pair.node2.talk("get name\n", end="END\n") == "VALUE name 0 4\njack\nEND\n",
        seconds=10,
    )


@pytest.mark.parametrize("direction", ["node1 to node2", "node2 to node1"])
def test_ten_thousand_sets_on_one_node_are_read_on_the_other_as_they_come(pair, direction):
    writer, reader = pair.nodes if direction == "node1 to node2" else reversed(pair.nodes)
    items = {f"K-{i}": f"V-{i}" for i in range(10_000)}
    client = reader.client()
    with ThreadPoolExecutor() as pool:
        writing = pool.submit(writer.write, items)
        for key, value in items.items():
            wait_until(f"{reader} holds {key}", lambda: client.get(key) is not None)
            assert client.get(key) == value
        assert writing.result() == []
    pair.wait_until_both_hold(items, seconds=5)
