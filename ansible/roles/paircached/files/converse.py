"""Says the lines given to a memcached and prints its answer up to the line that ends it."""

given = arguments("lines")  # noqa: F821, of connect.py, which stands before this
with connect(given, 5) as connection:  # noqa: F821
    connection.sendall("".join(line + "\r\n" for line in given.lines).encode())
    for line in connection.makefile(encoding="utf-8", newline="\r\n"):
        print(line.rstrip("\r\n"))
        if line.split()[0] in ("STORED", "NOT_STORED", "END", "ERROR", "CLIENT_ERROR", "SERVER_ERROR"):
            break
