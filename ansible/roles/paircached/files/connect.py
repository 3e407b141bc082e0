"""How the role's own clients reach the daemon; stands in front of each of them.

The options are pairctl's: -s HOST:PORT or the path of a socket, --tls --ca FILE, --cert FILE --key FILE, --auth-file FILE.
"""

import argparse
import socket
import ssl


def arguments(*words):
    parser = argparse.ArgumentParser()
    parser.add_argument("-s", dest="server")
    parser.add_argument("--tls", action="store_true")
    for option in ("--ca", "--cert", "--key", "--auth-file"):
        parser.add_argument(option)
    for word in words:
        parser.add_argument(word, nargs="+" if word == "lines" else None)
    return parser.parse_args()


def connect(given, timeout):
    if given.server.startswith("/"):
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(timeout)
        client.connect(given.server)
    else:
        host, _, port = given.server.rpartition(":")
        host = host.strip("[]")
        client = socket.create_connection((host, int(port)), timeout)
        if given.tls:
            context = ssl.create_default_context(cafile=given.ca)
            if given.cert:
                context.load_cert_chain(given.cert, given.key)
            client = context.wrap_socket(client, server_hostname=host)
    if given.auth_file:
        login(client, given.auth_file)
    return client


def login(client, path):
    with open(path, "rb") as file:
        line = file.readline().rstrip(b"\r\n")
    # A node that wants no password takes this for an item: one that is gone at once.
    client.sendall(b"set pairctl-login 0 -1 %d\r\n%b\r\n" % (len(line), line.replace(b":", b" ", 1)))
    reply = b""
    while not reply.endswith(b"\r\n"):
        part = client.recv(100)
        if not part:
            break
        reply += part
    if reply != b"STORED\r\n":
        raise PermissionError("it does not take the password")
