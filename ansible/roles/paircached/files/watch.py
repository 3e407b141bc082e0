"""Does one set and one get after the other on a node for a while, and says how that went, as JSON.

Arguments beside those of connect.py, which stands before this: seconds, name of the keys. The client starts anew where a
connection fails.
"""

import json
import time


def exchange(client, request, end):
    client.sendall(request)
    reply = b""
    while not reply.endswith(end):
        part = client.recv(65536)
        if not part:
            raise ConnectionError("hung up")
        reply += part
    return reply


def main(given):
    seconds, name = float(given.seconds), given.name
    began = time.monotonic()
    client, number, last = None, 0, began
    seen = {"requests": 0, "errors": 0, "wrong": 0, "longest_gap_ms": 0.0, "first_error": ""}
    while time.monotonic() - began < seconds:
        number += 1
        key, value = f"{name}:{number % 100}".encode(), str(number).encode()
        try:
            client = client or connect(given, 1)  # noqa: F821
            stored = exchange(client, b"set %b 0 60 %d\r\n%b\r\n" % (key, len(value), value), b"\r\n")
            found = exchange(client, b"get %b\r\n" % key, b"END\r\n")
            seen["requests"] += 2
            seen["wrong"] += stored != b"STORED\r\n" or value not in found.split(b"\r\n")
            now = time.monotonic()
            seen["longest_gap_ms"] = round(max(seen["longest_gap_ms"], 1000 * (now - last)), 1)
            last = now
        except OSError as error:
            seen["errors"] += 1
            seen["first_error"] = seen["first_error"] or str(error)
            if client:
                client.close()
            client = None
            time.sleep(0.05)
        time.sleep(0.001)
    if last == began:
        seen["longest_gap_ms"] = round(1000 * seconds, 1)
    print(json.dumps(seen))


main(arguments("seconds", "name"))  # noqa: F821
