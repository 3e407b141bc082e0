"""stats items and stats slabs: a known population in memcached's table of slab classes."""

import pytest

from .names import ITEMS_OF_1_6_45, SLABS_OF_1_6_45
from .wire import stored

PAGE = 1 << 20
# The default classes, -f 1.25 -n 48: bytes of a chunk, from class 1 on.
CHUNKS = """
    96 120 152 192 240 304 384 480 600 752 944 1184 1480 1856 2320 2904 3632 4544 5680 7104 8880 11104 13880
    17352 21696 27120 33904 42384 52984 66232 82792 103496 129376 161720 202152 252696 315872 394840 524288
""".split()


def size(key, value, flags=0):
    """Bytes of an item: header, CAS, key and its end, flags if any, value and line end."""
    return 48 + 8 + len(key) + 1 + (4 if flags else 0) + value + 2


def class_of(bytes_in_all, chunks=CHUNKS):
    return next(number for number, chunk in enumerate(chunks, 1) if int(chunk) >= bytes_in_all)


def by_class(stats, prefix=""):
    """{class: {name: value}}, and what belongs to none."""
    classes, rest = {}, {}
    for name, value in stats.items():
        number, _, field = name.removeprefix(prefix).partition(":")
        if field:
            classes.setdefault(int(number), {})[field] = value
        else:
            rest[name] = value
    return classes, rest


def test_without_items_there_are_no_classes(launch):
    with launch().client() as client:
        assert client.stats(b"items") == {}
        classes, rest = by_class(client.stats(b"slabs"))
        assert classes == {}
        assert list(rest) == ["active_slabs", "total_malloced"]
        assert rest["active_slabs"] == "0"


def test_every_item_is_in_the_first_class_that_holds_it(launch):
    with launch().client() as client:
        for number, chunk in enumerate(map(int, CHUNKS), 1):
            full = chunk - size("k", 0)
            client.ask(stored("k", "v" * full) + b"delete k\r\n", b"STORED\r\nDELETED\r\n")
            classes, _ = by_class(client.stats(b"slabs"))
            assert classes[number]["cmd_set"] == ("1" if number == 1 else "2"), chunk
            if number < len(CHUNKS):
                client.ask(stored("k", "v" * (full + 1)) + b"delete k\r\n", b"STORED\r\nDELETED\r\n")
        classes, _ = by_class(client.stats(b"slabs"))
        assert [classes[number]["chunk_size"] for number in sorted(classes)] == CHUNKS


@pytest.mark.parametrize(
    "options, first",
    [
        (["-n", "96"], [144, 184, 232]),
        (["-f", "2"], [96, 192, 384, 768]),
        (["-f", "1.07"], [96, 104, 112, 120]),
    ],
    ids=lambda value: " ".join(map(str, value)),
)
def test_f_and_n_make_other_classes(launch, options, first):
    with launch(*options).client() as client:
        for number, chunk in enumerate(first, 1):
            client.ask(stored(f"k{number}", "v" * (chunk - size("k1", 0))), b"STORED\r\n")
        classes, _ = by_class(client.stats(b"slabs"))
        assert {number: int(found["chunk_size"]) for number, found in classes.items()} == dict(enumerate(first, 1))


POPULATION = {10: 700, 1000: 30, 5000: 20, 100_000: 12}  # bytes of a value: how many of them


@pytest.fixture
def populated(launch):
    with launch().client() as client:
        for value, count in POPULATION.items():
            for number in range(count):
                client.ask(stored(f"key-{value:06}-{number:06}", "v" * value), b"STORED\r\n")
        yield client


def test_items_of_a_population(populated):
    classes, rest = by_class(populated.stats(b"items"), "items:")
    assert rest == {}
    wanted = {}
    for value, count in POPULATION.items():
        each = size("key-000000-000000", value)
        wanted[class_of(each)] = (count, count * each)
    found = {number: (int(stats["number"]), int(stats["mem_requested"])) for number, stats in classes.items()}
    assert found == wanted
    for stats in classes.values():
        assert sum(int(stats[f"number_{lru}"]) for lru in ("hot", "warm", "cold")) == int(stats["number"])
        assert 0 <= int(stats["age"]) < 10
        for name in ("evicted", "evicted_nonzero", "evicted_time", "outofmemory", "tailrepairs", "reclaimed"):
            assert stats[name] == "0", name


def test_slabs_of_a_population(populated):
    classes, rest = by_class(populated.stats(b"slabs"))
    pages = 0
    for value, count in POPULATION.items():
        stats = {name: int(number) for name, number in classes.pop(class_of(size("key-000000-000000", value))).items()}
        per_page = PAGE // stats["chunk_size"]
        needed = -(-count // per_page)
        assert stats["chunks_per_page"] == per_page
        assert stats["total_pages"] == needed
        assert stats["total_chunks"] == needed * per_page
        assert stats["used_chunks"] == count
        assert stats["free_chunks"] == stats["total_chunks"] - count
        assert stats["cmd_set"] == count
        pages += needed
    assert classes == {}
    assert rest == {"active_slabs": str(len(POPULATION)), "total_malloced": str(pages * PAGE)}


def test_names_of_a_class_are_those_of_1_6_45_in_its_order(populated):
    for stats in by_class(populated.stats(b"items"), "items:")[0].values():
        assert list(stats) == [name for name in ITEMS_OF_1_6_45 if name != "number_temp"]
    for stats in by_class(populated.stats(b"slabs"))[0].values():
        assert list(stats) == SLABS_OF_1_6_45


def test_hits_are_counted_in_the_class_of_the_item(populated):
    small, large = "key-000010-000000", "key-005000-000000"
    populated.talk(f"get {small} {large} {large} nosuch\r\n".encode())
    populated.talk(f"touch {large} 0\r\ndelete {large}\r\n".encode())
    populated.talk(stored(small, "1" * 10) + f"incr {small} 1\r\ndecr {small} 2\r\n".encode())
    populated.talk(f"cas {small} 0 0 10 1\r\n1111111111\r\n".encode())
    classes, _ = by_class(populated.stats(b"slabs"))
    names = ("get_hits", "cmd_set", "delete_hits", "incr_hits", "decr_hits", "cas_badval", "touch_hits")
    small, large = (classes[class_of(size(key, value))] for key, value in ((small, 10), (large, 5000)))
    assert [int(small[name]) for name in names] == [1, 702, 0, 1, 1, 1, 0]
    assert [int(large[name]) for name in names] == [2, 20, 1, 0, 0, 0, 1]


def test_an_item_that_grows_changes_its_class(launch):
    with launch().client() as client:
        client.ask(stored("k", "v" * 10) + stored("k", "v" * 5000), b"STORED\r\n" * 2)
        classes, _ = by_class(client.stats(b"items"), "items:")
        assert {number: stats["number"] for number, stats in classes.items()} == {class_of(size("k", 5000)): "1"}


def test_evictions_are_counted_in_the_class_of_the_item(launch):
    with launch("-m", "8").client() as client:
        for number in range(1000):
            client.ask(stored(f"key-{number:06}", "v" * 20_000), b"STORED\r\n")
        classes, _ = by_class(client.stats(b"items"), "items:")
        assert list(classes) == [class_of(size("key-000000", 20_000))]
        (stats,) = classes.values()
        general = client.stats()
        assert stats["evicted"] == general["evictions"] != "0"
        assert int(stats["number"]) == int(general["curr_items"]) == 1000 - int(stats["evicted"])
        assert stats["evicted_nonzero"] == "0"
