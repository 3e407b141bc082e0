"""The customers of a shop, for the story that vagrant/demo tells; it runs on the lab's client.

Begins sessions through one address and looks earlier ones up, until its input ends. A line of input is answered by a line
of JSON: `report` with what the customers saw so far, `check HOST` with how many of their sessions a node holds.
"""

import json
import os
import random
import select
import sys
import time

from pymemcache.client.base import Client

# Replication is asynchronous: what a node acknowledged in the moment before it is killed may die with it.
LAST_MOMENT = 1.0
# Seconds that a session may take to its second node, on a machine however busy.
ON_ITS_WAY = 20.0


class Shop:
    def __init__(self, host, port):
        self.address = (host, port)
        self.client = None
        self.begun = {}  # Each session that was acknowledged, and when.
        self.keys = []
        self.missing = set()
        self.errors = 0
        self.longest_gap = 0.0
        self.outages = []  # When somebody was served for the last time before each.
        self.went_well = time.monotonic()

    def serve_customer(self):
        name = f"session:{os.getpid()}:{len(self.keys)}"
        try:
            if self.client is None:
                self.client = Client(self.address, connect_timeout=1, timeout=1)
            self.client.set(name, value_of(name), expire=900, noreply=False)
            earlier = random.choice(self.keys) if self.keys else name
            found = self.client.get(earlier)
        except Exception:  # Whatever a library makes of a lost connection: the next customer gets a new one.
            self.fail()
            return
        now = time.monotonic()
        self.longest_gap = max(self.longest_gap, now - self.went_well)
        self.went_well = now
        self.begun[name] = now
        self.keys.append(name)
        if found != value_of(earlier):
            self.missing.add(earlier)

    def fail(self):
        self.errors += 1
        if not self.outages or self.outages[-1] < self.went_well:
            self.outages.append(self.went_well)
        if self.client is not None:
            self.client.close()
        self.client = None
        time.sleep(0.02)

    def report(self):
        return {
            "sessions": len(self.keys), "errors": self.errors, "longest_gap": round(self.longest_gap, 2),
            "well": self.went_well > max(self.outages, default=0.0), **self.told_apart(self.missing),
        }  # fmt: skip

    def check(self, host):
        """Asks one node for every session, past the front end; what is on its way there gets a while to arrive."""
        node = Client((host, 11211), connect_timeout=2, timeout=10)
        missing, end = self.keys, time.monotonic() + ON_ITS_WAY
        while True:
            missing = [name for name in missing if node.get(name) != value_of(name)]
            found = self.told_apart(missing)
            if not found["missing"] or time.monotonic() > end:
                break
            time.sleep(0.05)
        node.close()
        # Nobody was turned away meanwhile, only asked to wait.
        self.went_well = time.monotonic()
        return {"held": len(self.keys) - len(missing), **found}

    def told_apart(self, missing):
        missing = list(missing)
        last = [name for name in missing if self.in_a_last_moment(name)]
        return {"missing": len(missing) - len(last), "missing_of_the_last_moment": len(last)}

    def in_a_last_moment(self, name):
        return any(outage - LAST_MOMENT <= self.begun.get(name, 0.0) <= outage for outage in self.outages)


def value_of(name):
    return f"the cart of {name}".encode()


def main():
    shop = Shop(sys.argv[1], int(sys.argv[2]))
    while True:
        if select.select([sys.stdin], [], [], 0.003)[0]:
            words = sys.stdin.readline().split()
            if not words:
                return
            answer = shop.report() if words[0] == "report" else shop.check(words[1])
            print(json.dumps(answer), flush=True)
        shop.serve_customer()


main()
