"""Says the lines given to a memcached at HOST:PORT and prints its answer up to the line that ends it."""

import socket
import sys

host, _, port = sys.argv[1].rpartition(":")
with socket.create_connection((host.strip("[]"), int(port)), timeout=5) as connection:
    connection.sendall("".join(line + "\r\n" for line in sys.argv[2:]).encode())
    for line in connection.makefile(encoding="utf-8", newline="\r\n"):
        print(line.rstrip("\r\n"))
        if line.split()[0] in ("STORED", "NOT_STORED", "END", "ERROR", "CLIENT_ERROR", "SERVER_ERROR"):
            break
