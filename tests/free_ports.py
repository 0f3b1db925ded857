"""Ports on 127.0.0.1 for servers that tests start in processes of their own."""

import contextlib
import random
import socket

# Most systems give ports from 32768 on to connections and to servers that ask for any port. A number below
# is seldom taken by another process between this choice and the start of the server.
CHOICE = range(20_000, 32_000)


def free_ports(count: int) -> list[int]:
    """Returns ports that were free a moment ago."""
    numbers = random.SystemRandom()  # tests seed the ordinary generator
    ports: list[int] = []
    while len(ports) < count:
        port = numbers.choice(CHOICE)
        with socket.socket() as one, contextlib.suppress(OSError):
            one.bind(("127.0.0.1", port))
            ports += [port] if port not in ports else []
    return ports
