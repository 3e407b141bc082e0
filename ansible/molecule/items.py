"""What a client of memcached sees: `items.py store|count SERVER...` sets 500 items, or says how many of them are there.

Several servers are used as pymemcache's users do it, each key having one that its hash chooses.
"""

import sys

from pymemcache.client.hash import HashClient
from pymemcache.client.retrying import RetryingClient

ITEMS = {f"item:{number}": f"value {number}".encode() for number in range(500)}

command, *servers = sys.argv[1:]
client = RetryingClient(HashClient(servers, timeout=5, connect_timeout=5), attempts=3, retry_delay=0.1)
if command == "store":
    refused = client.set_many(ITEMS, noreply=False)
    if refused:
        sys.exit(f"not stored: {refused}")
else:
    found = client.get_many(ITEMS)
    print(sum(found.get(key) == value for key, value in ITEMS.items()))
