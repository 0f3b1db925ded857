"""The web application: one page, and one address that answers."""

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from tlkeras import messages
from tlkeras.demo.answers import Answers
from tlkeras.demo.uploads import MAX_BYTES
from tlkeras.errors import UserError

_HEADERS = {
    "Content-Security-Policy": "frame-ancestors 'none'",  # the page itself has the rest
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}
_ELSEWHERE = "Requests from other pages are refused.\n"


def application(answers: Answers, page: str, hosts: frozenset[str] | None) -> Callable:
    """Returns the ASGI application.

    Args:
        answers: What answers the inputs. It is asked about one input at a time.
        page: HTML of the page.
        hosts: Allowed values of the header `Host`, against names of other sites that lead to this machine.
            None allows all.
    """
    one_at_a_time = anyio.CapacityLimiter(1)

    async def show(request: Request) -> Response:
        return HTMLResponse(page)

    async def answer(request: Request) -> Response:
        try:
            content = await _body(request)
            found = await anyio.to_thread.run_sync(answers.of, content, limiter=one_at_a_time)
        except UserError as error:
            return JSONResponse({"error": str(error)}, 422)
        except ClientDisconnect:
            return Response(status_code=499)
        except Exception as error:  # a page that people use must go on
            said = " ".join(str(error).split())[:200]
            messages.warn(f"An input could not be answered: {type(error).__name__}: {said}")
            return JSONResponse({"error": "This input cannot be answered."}, 500)
        return JSONResponse(found)

    app = Starlette(routes=[Route("/", show), Route("/answer", answer, methods=["POST"])])
    return _guarded(app, hosts)


async def _body(request: Request) -> bytes:
    """Returns the body of a request. Raises `UserError` once it is larger than `MAX_BYTES`."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > MAX_BYTES:
            raise UserError(f"The file has more than {MAX_BYTES // 2**20} MB.")
        parts.append(part)
    return b"".join(parts)


def _guarded(app: Callable, hosts: frozenset[str] | None) -> Callable:
    """Returns the application behind a check of where requests come from."""

    async def guarded(scope: dict[str, Any], receive: Callable, send: Callable[[Any], Awaitable]) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if reason := _foreign(headers, hosts):
            await PlainTextResponse(reason, 403)(scope, receive, send)
            return

        async def send_with_headers(message):
            if message["type"] == "http.response.start":
                extra = [(name.lower().encode(), value.encode()) for name, value in _HEADERS.items()]
                message = {**message, "headers": [*message["headers"], *extra]}
            await send(message)

        await app(scope, receive, send_with_headers)

    return guarded


def _foreign(headers: dict[str, str], hosts: frozenset[str] | None) -> str:
    """Returns why a request is refused, or an empty string."""
    host, origin = headers.get("host", ""), headers.get("origin")
    if hosts is not None and host not in hosts:
        return f"This page is not called {host}.\n"
    if origin is not None and origin.partition("://")[2] != host:
        return _ELSEWHERE
    # a link to the page may come from anywhere; what another page loads or sends may not
    other = headers.get("sec-fetch-site") in ("cross-site", "same-site")
    return _ELSEWHERE if other and headers.get("sec-fetch-mode") != "navigate" else ""
