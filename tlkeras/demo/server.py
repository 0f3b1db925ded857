"""Starts the page on this machine and ends with Ctrl-C."""

import contextlib
import errno
import ipaddress
import socket
from collections.abc import Callable

from tlkeras import messages
from tlkeras.demo.answers import Answers
from tlkeras.demo.uploads import MAX_BYTES, MAX_CHARACTERS
from tlkeras.errors import Interrupted, UserError, install
from tlkeras.report.page import headline_cards
from tlkeras.report.reading import read_run
from tlkeras.report.rendering import rendered
from tlkeras.runs.saved_run import SavedRun

FIRST_PORT = 8765
_TRIED = 20


def require_server() -> None:
    """Raises `UserError` if the packages of the extra `demo` are not installed."""
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"The page needs the packages starlette and uvicorn: {install('demo')}. Received: {error}"
        ) from None


def listening(host: str, port: int | None) -> socket.socket:
    """Returns a socket that listens.

    Args:
        host: Name or address of this machine.
        port: Port, or None for the first free one from `FIRST_PORT` on.

    Raises:
        UserError: The port is taken, or the host is not this machine.
    """
    for number in [port] if port else range(FIRST_PORT, FIRST_PORT + _TRIED):
        try:
            family = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM)[0][0]
            return socket.create_server((host, number), family=family)
        except OSError as error:
            if error.errno == errno.EADDRINUSE and not port:
                continue
            raise UserError(_why(error, host, number)) from None
    last = FIRST_PORT + _TRIED - 1
    raise UserError(f"Ports {FIRST_PORT} to {last} are all taken: choose another with --port.")


def _why(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} is taken: choose another --port, or leave it out. Received: --port={port}"
    if error.errno == errno.EACCES:
        return f"You may not listen on port {port}: choose one above 1023. Received: --port={port}"
    return f"This machine has no address {host}: {error.strerror or error}. Received: --host={host}"


def serve(run: SavedRun, answers: Answers, opened: socket.socket, ready: Callable[[str], object]) -> None:
    """Shows the page until Ctrl-C or SIGTERM.

    Args:
        run: Finished run.
        answers: Answers of the run.
        opened: Socket of `listening`.
        ready: Function that gets the address of the page once it is there.
    """
    import uvicorn

    from tlkeras.demo.app import application

    host, port = opened.getsockname()[:2]
    local = ipaddress.ip_address(host).is_loopback
    hosts = frozenset(f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]")) if local else None
    if not local:
        messages.warn("Everybody who can reach this machine over the network can use the page.")
    settings = uvicorn.Config(
        application(answers, page_of(run, answers), hosts), log_config=None, access_log=False,
        lifespan="off", ws="none", server_header=False, timeout_graceful_shutdown=3,
    )  # fmt: skip
    shown = "127.0.0.1" if ipaddress.ip_address(host).is_unspecified else host
    ready(f"http://{f'[{shown}]' if ':' in shown else shown}:{port}/")
    with contextlib.suppress(KeyboardInterrupt, Interrupted):
        uvicorn.Server(settings).run(sockets=[opened])
    messages.result("The page has ended.")


def page_of(run: SavedRun, answers: Answers) -> str:
    """Returns the HTML of the page.

    Args:
        run: Finished run.
        answers: Answers of the run.
    """
    record = read_run(run.path)
    return rendered(
        "demo.html",
        title=f"{record.name}: try the model",
        name=record.name,
        kind=answers.kind,
        pair="types" in run.input_shape,
        classes=run.class_names,
        cards=headline_cards(record) if record.metrics else [],
        most_bytes=MAX_BYTES,
        most_characters=MAX_CHARACTERS,
        without_training=answers.training if isinstance(answers.training, str) else "",
    )
