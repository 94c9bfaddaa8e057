"""A viser server that keeps to itself: quiet, on a port that is free, deaf to pages of other hosts, never shared."""

from __future__ import annotations

import contextlib
import http
import ipaddress
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from worldline.errors import InputError, MissingExtraError, WorldlineError

if TYPE_CHECKING:
    import viser

_PORTS_TRIED = 100
_patching = threading.Lock()  # the guard and the silence are put in place by patching, one server at a time


def start(host: str, port: int, label: str) -> viser.ViserServer:
    """Start serving on ``host`` and the first free port from ``port`` on (0: any free one).

    Raises:
        MissingExtraError: viser is not installed.
        InputError: the host is not an address of this machine, or no port is free.
        WorldlineError: the installed viser does not let itself be guarded; see :func:`_guarded`.
    """
    try:
        import viser
    except ImportError as error:
        raise MissingExtraError("The viewer", "view") from error

    with _patching, _guarded(host) as guarded, _quiet():
        server = viser.ViserServer(host=host, port=free_port(host, port), label=label, verbose=False)
    if not guarded.is_set():
        stop(server)
        raise WorldlineError(
            f"Pages of other hosts could read the scene: viser {viser.__version__} serves in a way of its own.",
            "Install a version that is known to work: pip install 'viser==1.1.1'",
        )
    # viser can publish a server under share.viser.studio when a page asks for it; ours cannot be asked
    server.request_share_url = _refuse_to_share  # type: ignore[method-assign]
    return server


def stop(server: viser.ViserServer) -> None:
    """End the server and its threads, without viser's message about it."""
    with _patching, _quiet():
        server.stop()


def free_port(host: str, port: int) -> int:
    """The first port from ``port`` on that nothing listens on; 0 stays 0.

    Raises:
        InputError: the host is not an address of this machine, or no port is free.
    """
    if not 0 <= port < 65536:
        raise InputError(f"There is no port {port}.", "Ports are 1 to 65535; 0 takes any that is free.")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for candidate in range(port, min(port + _PORTS_TRIED, 65536)):
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            if sys.platform == "win32":  # SO_REUSEADDR would let ports in use look free there
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
            else:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, candidate))
            except OSError as error:
                if isinstance(error, socket.gaierror) or error.errno in _NOT_OURS:
                    raise InputError(
                        f"This machine cannot listen on {host!r}.",
                        "127.0.0.1 is for this machine only, 0.0.0.0 for everyone on the network.",
                    ) from error
                continue
            return candidate
    raise InputError(f"The ports {port} to {candidate} are all in use.", "Choose another with --port.")


def is_local(host: str) -> bool:
    """Whether only this machine reaches ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def own_address(host: str) -> str:
    """What other machines call ``host``: where it stands for all addresses of this machine, the one of its network.

    The name of the machine where it has no network that leads anywhere.
    """
    if host not in ("0.0.0.0", "::", ""):
        return host
    # connecting a datagram socket sends nothing, but chooses the interface; the addresses are of documentation
    family, outside = (socket.AF_INET6, "2001:db8::1") if host == "::" else (socket.AF_INET, "192.0.2.1")
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((outside, 9))
            return str(probe.getsockname()[0])
    except OSError:
        return socket.gethostname()


def _refuse_to_share(verbose: bool = True) -> None:
    del verbose


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Nothing that viser prints meanwhile, from whichever thread, is shown; what others print is."""
    import rich

    original = rich.print

    def unless_of_viser(*arguments: Any, **options: Any) -> None:
        if sys._getframe(1).f_globals.get("__name__", "").partition(".")[0] != "viser":
            original(*arguments, **options)

    rich.print = unless_of_viser
    try:
        yield
    finally:
        rich.print = original


@contextlib.contextmanager
def _guarded(host: str) -> Iterator[threading.Event]:
    """Servers that start meanwhile answer only pages that they served themselves.

    Any page that is open in the browser may connect to a local port, and viser answers whoever asks: a stranger's page
    could read the scene. viser offers no hook for this, so its call of the web server is wrapped. The event
    is set by that call: another version of viser must not start without the guard.
    """
    import websockets.asyncio.server as web

    original, guarded = web.serve, threading.Event()

    def serve(*arguments: Any, process_request: Callable[..., Any] | None = None, **options: Any) -> Any:
        def checked(connection: Any, request: Any) -> Any:
            if is_stranger(host, request.headers.get("Host"), request.headers.get("Origin")):
                return connection.respond(http.HTTPStatus.FORBIDDEN, "Open the viewer's own address.\n")
            return None if process_request is None else process_request(connection, request)

        guarded.set()
        return original(*arguments, process_request=checked, **options)

    web.serve = serve  # type: ignore[assignment,misc]
    try:
        yield guarded
    finally:
        web.serve = original  # type: ignore[misc]


def is_stranger(host: str, asked: str | None, origin: str | None) -> bool:
    """Whether a request comes from a page of another host, by its headers ``Host`` and ``Origin``.

    A server of this machine only also refuses names that were made to point at it (DNS rebinding). One that listens
    on the network cannot: it does not know by which names it may be called.
    """
    name = urlsplit(f"//{asked or ''}").hostname or ""
    if is_local(host) and not is_local(name):
        return True
    return origin is not None and urlsplit(origin).netloc != (asked or "")


_NOT_OURS = (99, 49, 10049)  # EADDRNOTAVAIL on Linux, macOS and Windows
