"""The judge of histories: accepts the good, refuses the bad."""

import itertools
import random

import pytest
from history import UNKNOWN, Operation, linearizable, regular, step, unknown


def one_after_the_other(*operations):
    return [Operation(*operation, began=2 * index, ended=2 * index + 1) for index, operation in enumerate(operations)]


GOOD = {
    "a value that was set": one_after_the_other(("set", 1, "done"), ("get", None, 1)),
    "a read during a set that sees it": [Operation("set", 1, "done", 0, 9), Operation("get", None, 1, 1, 2)],
    "a read during a set that does not": [Operation("set", 1, "done", 0, 9), Operation("get", None, None, 1, 2)],
    "a lock": one_after_the_other(("add", 1, "done"), ("add", 2, "refused"), ("delete", None, "done"), ("add", 2, "done")),
    "two that count at once": [Operation("set", 0, "done", 0, 1), Operation("incr", 1, 2, 2, 9), Operation("incr", 1, 1, 2, 9)],
    "an unknown that was done": [unknown("set", 1, 0), Operation("get", None, 1, 5, 6)],
    "an unknown that was not": [unknown("set", 1, 0), Operation("get", None, None, 5, 6)],
    "an unknown that was done late": [
        unknown("set", 1, 0),
        Operation("get", None, None, 5, 6),
        Operation("get", None, 1, 7, 8),
    ],
    "a cas that lost": one_after_the_other(("set", 1, "done"), ("set", 2, "done"), ("cas", (1, 3), "refused")),
}
BAD = {
    "a value from nowhere": one_after_the_other(("set", 1, "done"), ("get", None, 2)),
    "a value that was overwritten": one_after_the_other(("set", 1, "done"), ("set", 2, "done"), ("get", None, 1)),
    "an acknowledged set that is gone": one_after_the_other(("set", 1, "done"), ("get", None, None)),
    "a value before it was set": one_after_the_other(("get", None, 1), ("set", 1, "done")),
    "a lock granted twice": [Operation("add", 1, "done", 0, 9), Operation("add", 2, "done", 0, 9)],
    "a count that was lost": [
        Operation("set", 0, "done", 0, 1),
        Operation("incr", 1, 1, 2, 9),
        Operation("incr", 1, 1, 2, 9),
    ],
    "two that both replaced the same": [
        Operation("set", 0, "done", 0, 1),
        Operation("cas", (0, 1), "done", 2, 9),
        Operation("cas", (0, 2), "done", 2, 9),
    ],
    "an unknown that was done and undone": [
        unknown("set", 1, 0),
        Operation("get", None, 1, 5, 6),
        Operation("get", None, None, 7, 8),
    ],
    "an unknown that was done twice": [
        Operation("set", 0, "done", 0, 1),
        unknown("incr", 1, 2),
        Operation("get", None, 2, 5, 6),
    ],
}
INVERSION = [
    Operation("set", 1, "done", 0, 9),
    Operation("get", None, 1, 1, 2),
    Operation("get", None, None, 3, 4),
]


@pytest.mark.parametrize("history", GOOD.values(), ids=GOOD)
def test_what_could_have_been_is_accepted(history):
    assert linearizable(history)
    assert regular(history)


@pytest.mark.parametrize("name", BAD)
def test_what_can_not_have_been_is_refused(name):
    assert not linearizable(BAD[name])
    if name != "an unknown that was done and undone":
        assert not regular(BAD[name])


def test_readers_that_see_a_write_and_then_not_are_regular_but_not_linearizable():
    assert regular(INVERSION)
    assert not linearizable(INVERSION)


def by_trying_all_orders(history):
    """The definition itself."""
    certain = [operation for operation in history if operation.result is not UNKNOWN]
    doubtful = [operation for operation in history if operation.result is UNKNOWN]
    for count in range(len(doubtful) + 1):
        for some in itertools.combinations(doubtful, count):
            for order in itertools.permutations([*certain, *some]):
                if any(later.ended < earlier.began for earlier, later in itertools.combinations(order, 2)):
                    continue
                state = None
                for operation in order:
                    result, state = step(state, operation)
                    if operation.result not in (UNKNOWN, result):
                        break
                else:
                    return True
    return False


def test_of_small_histories_it_says_what_trying_all_orders_says():
    verdicts = {True: 0, False: 0}
    for seed in range(1_500):
        chance = random.Random(seed)
        history = []
        for _ in range(chance.randint(2, 5)):
            kind = chance.choice(["set", "get", "add", "incr", "delete", "cas"])
            argument = (chance.randint(0, 2), chance.randint(0, 2)) if kind == "cas" else chance.randint(0, 2)
            results = {"get": [None, 0, 1, 2], "incr": ["refused", 1, 2, 3], "set": ["done"], "delete": ["done"]}
            result = chance.choice(results.get(kind, ["done", "refused"]))
            began = chance.random()
            if chance.random() < 0.15:
                history.append(unknown(kind, argument, began))
            else:
                history.append(Operation(kind, argument, result, began, began + chance.random()))
        expected = by_trying_all_orders(history)
        assert linearizable(history) == expected, (seed, history)
        verdicts[expected] += 1
    assert min(verdicts.values()) > 200
