"""The viewer's server: who is answered, what it says and does not do; the flights of its tabs."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import synthetic_scene
from worldline.errors import InputError, WorldlineError
from worldline.outputs.view import open_viewer, server
from worldline.outputs.view.flight import Flights
from worldline.outputs.view.server import free_port, is_local, is_stranger

if TYPE_CHECKING:
    import viser


def test_a_busy_port_is_passed_over() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        busy = other.getsockname()[1]
        assert busy < free_port("127.0.0.1", busy) < busy + 100
    with pytest.raises(InputError, match="cannot listen"):
        free_port("192.0.2.1", 8080)
    with pytest.raises(InputError, match="no port 70000"):
        free_port("127.0.0.1", 70000)


def test_who_reaches_an_address() -> None:
    assert is_local("127.0.0.1") and is_local("localhost") and is_local("::1")
    assert not is_local("0.0.0.0") and not is_local("example.com") and not is_local("")


@pytest.mark.parametrize(
    ("host", "asked", "origin", "stranger"),
    [
        ("127.0.0.1", "127.0.0.1:8080", None, False),
        ("127.0.0.1", "localhost:8080", "http://localhost:8080", False),
        ("127.0.0.1", "[::1]:8080", "http://[::1]:8080", False),
        ("127.0.0.1", "127.0.0.1:8080", "https://example.com", True),  # a page of theirs connects to us
        ("127.0.0.1", "127.0.0.1:8080", "http://127.0.0.1:9000", True),  # so does another program's
        ("127.0.0.1", "127.0.0.1:8080", "null", True),
        ("127.0.0.1", "example.com:8080", "http://example.com:8080", True),  # a name that points here
        ("127.0.0.1", None, None, True),
        ("0.0.0.0", "workstation:8080", "http://workstation:8080", False),  # who asked for the network gets it
        ("0.0.0.0", "workstation:8080", "https://example.com", True),
    ],
)
def test_strangers(host: str, asked: str | None, origin: str | None, stranger: bool) -> None:
    assert is_stranger(host, asked, origin) is stranger


class TestServer:
    """A running viewer, asked over HTTP."""

    @pytest.fixture(scope="class")
    @staticmethod
    def url() -> Iterator[str]:
        pytest.importorskip("viser")
        viewer = open_viewer([synthetic_scene.make_scene()], port=0)
        viewer.settle()
        assert not viewer.failures
        yield viewer.url
        viewer.stop()
        viewer.stop()  # twice is once

    @staticmethod
    def ask(url: str, **headers: str) -> int:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code

    def test_page_is_served_to_this_machine(self, url: str) -> None:
        assert url.startswith("http://127.0.0.1:") and self.ask(url) == 200

    def test_pages_of_others_are_refused(self, url: str) -> None:
        assert self.ask(url, Host="example.com") == 403
        upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
        key = {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
        assert self.ask(url, Origin="https://example.com", **upgrade, **key) == 403


class TestOwnServer:
    """What a server of ours does not do, unlike viser's."""

    @pytest.fixture
    @staticmethod
    def started() -> Iterator[viser.ViserServer]:
        pytest.importorskip("viser")
        started = server.start("127.0.0.1", 0, "test")
        yield started
        server.stop(started)

    def test_a_page_that_asks_for_it_is_not_shared(self, started: viser.ViserServer) -> None:
        from viser._messages import ShareUrlRequest

        web = started._websock_server
        assert web._incoming_handlers[ShareUrlRequest]  # else nothing is tested
        asyncio.run(web._handle_incoming_message(0, ShareUrlRequest()))
        started._thread_executor.shutdown(wait=True)  # where viser answers it
        assert started._share_tunnel is None

    def test_a_viser_that_goes_round_the_guard_does_not_start(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip("viser")
        import viser
        import websockets.asyncio.server as web

        class OtherServer(viser.ViserServer):
            def __init__(self, **options: Any) -> None:
                with pytest.MonkeyPatch.context() as another_way:
                    another_way.setattr(web, "serve", serve)
                    super().__init__(**options)
                started.append(self)

        serve, started = web.serve, []
        monkeypatch.setattr(viser, "ViserServer", OtherServer)
        with pytest.raises(WorldlineError, match="could read the scene"):
            server.start("127.0.0.1", 0, "test")
        assert not started[0]._websock_server._server_thread.is_alive()

    def test_it_says_nothing_and_lets_others_speak(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pytest.importorskip("viser")
        import rich

        def speak(*_: object) -> int:
            print("one")
            rich.print("two")
            return 0

        monkeypatch.setattr(server, "free_port", speak)
        started = server.start("127.0.0.1", 0, "test")
        end = started.stop
        monkeypatch.setattr(started, "stop", lambda: (speak(), end()))
        server.stop(started)
        assert capsys.readouterr().out.split() == ["one", "two", "one", "two"]


def test_on_all_addresses_others_are_told_one_that_is_not_theirs() -> None:
    found = server.own_address("0.0.0.0")
    assert found and not found.startswith(("127.", "0."))


def test_the_address_for_others_is_known_where_they_are_answered() -> None:
    pytest.importorskip("viser")
    viewer = open_viewer([synthetic_scene.make_scene()], host="0.0.0.0", port=0)
    try:
        assert viewer.url == f"http://127.0.0.1:{viewer.port}"
        assert viewer.network_url == f"http://{server.own_address('0.0.0.0')}:{viewer.port}"
    finally:
        viewer.stop()


class Tab:
    """What a flight needs of a viser client."""

    client_id = 0

    def __init__(self) -> None:
        self.camera = SimpleNamespace(position=np.array([3.0, 0, 0]), wxyz=(1, 0, 0, 0), look_at=np.zeros(3), fov=1.0)

    def atomic(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def flush(self) -> None:
        pass


LEVEL = {"up": np.array([0.0, -1.0, 0.0]), "look_distance": 1.0}


def test_viewers_fly_their_first_tabs_apart_from_each_other() -> None:
    pytest.importorskip("viser")
    own, other, apart = Flights(), Flights(), Tab()
    slow = threading.Thread(target=own.fly, args=(apart, np.eye(4), 0.7), kwargs=LEVEL | {"seconds": 0.4})
    slow.start()
    other.fly(Tab(), np.eye(4), 0.7, **LEVEL, seconds=0.05)  # tabs are numbered from 0 in each viewer
    slow.join()
    assert np.allclose(apart.camera.position, 0) and apart.camera.fov == pytest.approx(0.7)


def test_the_newest_flight_of_a_tab_takes_over() -> None:
    pytest.importorskip("viser")
    flights, tab, target = Flights(), Tab(), np.eye(4)
    slow = threading.Thread(target=flights.fly, args=(tab, target, 0.7), kwargs=LEVEL | {"seconds": 5.0})
    slow.start()
    while np.allclose(tab.camera.position, (3, 0, 0)):  # until it is under way
        time.sleep(0.01)
    target[:3, 3] = (0, 2, 0)
    flights.fly(tab, target, 0.9, **LEVEL, seconds=0.05)
    slow.join(timeout=2)
    assert not slow.is_alive() and np.allclose(tab.camera.position, (0, 2, 0))
