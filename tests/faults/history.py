"""Whether what clients saw of one key could have been done one after the other (Wing and Gong's search)."""

import math
from dataclasses import dataclass
from typing import Any

UNKNOWN = object()  # nobody said: it was done at some time since, or not at all


@dataclass(frozen=True)
class Operation:
    """What one client asked for, from when to when, and what it was told."""

    kind: str
    argument: Any
    result: Any
    began: float
    ended: float


def unknown(kind, argument, began):
    return Operation(kind, argument, UNKNOWN, began, math.inf)


def step(state, operation):
    """What one key answers, and what it is after it. None is that there is nothing."""
    kind, argument = operation.kind, operation.argument
    if kind == "get":
        return state, state
    if kind == "set":
        return "done", argument
    if kind == "delete":
        return "done", None
    if kind == "add":
        return ("done", argument) if state is None else ("refused", state)
    if kind == "incr":
        return ("refused", None) if state is None else (state + argument, state + argument)
    if kind == "append":
        return ("refused", None) if state is None else ("done", state + argument)
    if kind == "cas":
        expected, value = argument
        return ("done", value) if state is not None and state == expected else ("refused", state)
    raise ValueError(kind)


def linearizable(history, state=None):
    """Whether there is an order that keeps what was one after the other, in which each answer is right."""
    history = sorted(history, key=lambda operation: operation.began)
    certain = sum(1 << index for index, operation in enumerate(history) if operation.result is not UNKNOWN)
    seen = set()
    open_ = [(0, state)]  # which have been done, a bit each, and what the key is then
    while open_:
        done, state = open_.pop()
        if done & certain == certain:
            return True
        if (done, state) in seen:
            continue
        seen.add((done, state))
        waiting = [index for index in range(len(history)) if not done >> index & 1]
        # Nothing may come before what had ended when it began.
        first = min(history[index].ended for index in waiting)
        for index in waiting:
            operation = history[index]
            if operation.began > first:
                break
            result, after = step(state, operation)
            if operation.result is UNKNOWN or operation.result == result:
                open_.append((done | 1 << index, after))
    return False


def regular(history, state=None):
    """As `linearizable`, but two that only look while another writes need not agree whether it has been done."""
    looks = [operation for operation in history if operation.kind == "get" or operation.result == "refused"]
    writes = [operation for operation in history if operation not in looks]
    return linearizable(writes, state) and all(linearizable([*writes, look], state) for look in looks)
