"""A local web page to try a model: a photograph goes in, and its class map comes back."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from mmengine.device import get_device

from cityseg_ext.apis.demo_view import view_photo, view_sample
from cityseg_ext.apis.predictor import Predictor
from cityseg_ext.checks import check_at_least, expected, install_extra

_missing: ImportError | None = None
try:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.exceptions import HTTPException
    from starlette.middleware import Middleware
    from starlette.middleware.base import BaseHTTPMiddleware
    from starlette.requests import ClientDisconnect, Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route
except ImportError as error:
    _missing = error

MAX_UPLOAD = 32.0
PATIENCE = 60.0
_PAGE = Path(__file__).parent / "demo_page"
_FILES = {"demo.css": "text/css", "demo.js": "text/javascript"}
_HEADERS = {
    # Only the page's own two files run or load. The photograph is drawn from the answer to a request.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


def make_app(
    predictor: Predictor,
    model: str,
    checkpoint: str,
    host: str = "localhost",
    max_upload: float = MAX_UPLOAD,
    patience: float = PATIENCE,
) -> Starlette:
    """The page and what it asks for.

    ``POST /predict?name=street.jpg`` takes an image file as its body and ``POST /sample?number=1`` a number; both
    answer with what :func:`~cityseg_ext.apis.demo_view.view_photo` says, or with ``{"error": one sentence}``. One
    photograph is predicted at a time. Nothing is written to disk.

    Args:
        predictor: the model.
        model: what to call its architecture on the page.
        checkpoint: what to call its weights there.
        host: what the server is called by its users, besides ``localhost``, the machine's name and IP addresses.
        max_upload: larger files, in MiB, are refused while they arrive.
        patience: seconds that an upload may take, and that it waits for the one before.

    Raises:
        ImportError: if the extra ``demo`` is not installed.
        ValueError: if ``max_upload`` or ``patience`` is not positive.
    """
    _check_installed()
    for option, value in (("max_upload", max_upload), ("patience", patience)):
        check_at_least(option, value, 0.001)
    max_bytes = int(max_upload * 2**20)
    environment = Environment(loader=FileSystemLoader(_PAGE), autoescape=True, undefined=StrictUndefined)
    names = dict(model=model, checkpoint=checkpoint, device=get_device())
    facts = dict(names, classes=len(predictor.classes), max_bytes=max_bytes)
    page = environment.get_template("index.html.j2").render(facts)
    files = {"/": (page.encode(errors="backslashreplace"), "text/html")}  # names of files need not be UTF-8
    files |= {f"/{name}": ((_PAGE / name).read_bytes(), kind) for name, kind in _FILES.items()}
    one_at_a_time = asyncio.Lock()

    async def show(request: Request) -> Response:
        content, kind = files[request.url.path]
        return Response(content, media_type=kind)

    async def predict(request: Request) -> Response:
        data = await _body(request, max_bytes, patience)
        name = "".join(filter(str.isprintable, request.query_params.get("name", "")))[:200] or "photograph"
        return await answer(view_photo, data, name)

    async def sample(request: Request) -> Response:
        number = request.query_params.get("number", "0")
        if not (number.isascii() and number.isdecimal() and len(number) < 10):
            raise HTTPException(422, expected("number", "a whole number below 10**9", repr(number[:50])))
        return await answer(view_sample, int(number))

    async def answer(view: Callable[..., dict[str, Any]], *arguments: object) -> Response:
        try:
            await asyncio.wait_for(one_at_a_time.acquire(), patience)
        except asyncio.TimeoutError:
            raise HTTPException(503, "The model is busy with other photographs. Try again in a while.") from None
        try:
            return JSONResponse(await run_in_threadpool(view, predictor, *arguments))
        except ValueError as error:
            raise HTTPException(422, str(error)) from error
        finally:
            one_at_a_time.release()

    app = Starlette(
        routes=[Route(path, show) for path in files]
        + [Route("/predict", predict, methods=["POST"]), Route("/sample", sample, methods=["POST"])],
        middleware=[Middleware(BaseHTTPMiddleware, dispatch=_guard({"localhost", socket.gethostname(), host}))],
        exception_handlers={HTTPException: _say, Exception: _fail},
    )
    app.router.redirect_slashes = False
    return app


def listen(host: str = "127.0.0.1", port: int = 7860) -> socket.socket:
    """A socket to serve on; port 0 is any that is free.

    Raises:
        ImportError: if the extra ``demo`` is not installed, so that nothing could be served.
        OSError: if there is no such address or the port is in use; the message names the cure.
    """
    _check_installed()
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        reason = str(getattr(error, "strerror", None) or error).partition(" (while")[0]  # Python repeats the address
        named = f"{host}:{port} ({reason})"
        rule = "an address of this machine and a port that is free"
        raise OSError(expected("--host and --port", rule, named, "--port 0 takes any that is free.")) from error


def address(listener: socket.socket) -> tuple[str, bool]:
    """The URL to open, and whether only this machine can reach it."""
    host, port = listener.getsockname()[:2]
    ip = ipaddress.ip_address(host)
    name = socket.gethostname() if ip.is_unspecified else f"[{host}]" if ip.version == 6 else host
    return f"http://{name}:{port}/", ip.is_loopback


def serve(app: Starlette, listener: socket.socket) -> None:
    """Serve until Ctrl-C, which lets a prediction that runs come to its end."""
    try:
        _server(app).run(sockets=[listener])
    except KeyboardInterrupt:
        return  # uvicorn has closed everything before it raises this
    finally:
        listener.close()


def _check_installed() -> None:
    if _missing is not None:
        raise ImportError(f"The demo needs a web server ({_missing}). {install_extra('demo')}") from _missing


def _server(app: Starlette) -> uvicorn.Server:
    options = dict(lifespan="off", ws="none", log_level="warning", server_header=False, limit_concurrency=32)
    options["proxy_headers"] = False  # nobody stands in between whose word about the client would count
    return uvicorn.Server(uvicorn.Config(app, **options))


def _guard(names: set[str]) -> Callable[[Request, Callable[[Request], Awaitable[Response]]], Awaitable[Response]]:
    """Refuses requests that pages of other sites make a browser send, and adds the headers to all answers.

    Such a page may post here, which the Origin header tells; or have its own name point here, which then is the Host.
    """
    known = {name.lower() for name in names}

    async def dispatch(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        host, origin = request.headers.get("host", ""), request.headers.get("origin")
        if not _is_known(host, known):
            response: Response = _error(421, f"This server is not called {host[:100]!r}. Use its IP address.")
        elif origin is not None and origin.partition("://")[2] != host:
            response = _error(403, "Pages of other sites may not use this server.")
        else:
            response = await call_next(request)
        response.headers.update(_HEADERS)
        return response

    return dispatch


def _is_known(host: str, known: set[str]) -> bool:
    """Whether a Host header has one of the names, or an IP address, which no other site can call its own."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        if name not in known:
            ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


async def _body(request: Request, limit: int, patience: float) -> bytes:
    """The body of a request, which is refused as soon as it is too large or too slow."""
    too_large = HTTPException(413, f"Expected a file of at most {limit / 2**20:g} MiB, but got a larger one.")
    claimed = request.headers.get("content-length", "")
    if claimed.isdecimal() and int(claimed) > limit:
        raise too_large

    async def collect() -> bytes:
        data = bytearray()
        async for chunk in request.stream():
            data += chunk
            if len(data) > limit:
                raise too_large
        return bytes(data)

    try:
        return await asyncio.wait_for(collect(), patience)
    except asyncio.TimeoutError:
        raise HTTPException(408, f"The upload took longer than {patience:g} seconds.") from None
    except ClientDisconnect:
        raise HTTPException(400, "The upload was broken off.") from None


def _error(status: int, sentence: str, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"error": sentence}, status, headers)


async def _say(_: Request, error: HTTPException) -> Response:
    return _error(error.status_code, error.detail, error.headers)


async def _fail(_: Request, error: Exception) -> Response:
    """Starlette raises the error again after this answer, so that the terminal shows all of it."""
    name = f"{type(error).__module__}.{type(error).__name__}".removeprefix("builtins.")
    return _error(500, f"The prediction failed ({name}); the terminal of the demo says why.")
