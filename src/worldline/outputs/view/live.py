"""The viewer of a stream that runs: in another program, through its scene folder, or in this one."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from worldline.outputs.view.following import MOST_MOMENTS, News, SceneFollower
from worldline.scene import Scene, SceneView

if TYPE_CHECKING:
    import viser

    from worldline.outputs.view.viewer import Viewer

_log = logging.getLogger(__name__)


class FinalView(Protocol):
    """What a session gives for an image whose geometry is final; ``worldline``'s ``SensorResult`` is one."""

    scale_kind: str

    def to_view(self) -> SceneView: ...


class StreamAnswer(Protocol):
    """What a session answers to a push; ``worldline``'s ``FrameResult`` is one."""

    @property
    def completed(self) -> Iterable[FinalView]: ...


def open_live(
    directory: str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    most_moments: int = MOST_MOMENTS,
    interval: float = 0.5,
    say: Callable[[str], None] = lambda message: None,
    give_up: Callable[[], bool] = lambda: False,
) -> Viewer | None:
    """Show the scene that a stream is writing; blocks until it has its first views, then returns.

    A thread looks into the folder and adds what is new until the viewer stops. A stream that is started again in the
    same folder takes the place of the one before.

    Args:
        directory: the folder of ``worldline stream -o``; may not exist yet.
        host, port: see :func:`worldline.outputs.view.open_viewer`.
        most_moments: so many of the newest moments are shown; older ones are forgotten.
        interval: seconds between two looks.
        say: called with a sentence for the user, when it is another than before.
        give_up: asked while there is nothing to show: whether to stop waiting.

    Returns:
        the viewer; None where ``give_up`` said so.

    Raises:
        InputError: no port is free.
        MissingExtraError: viser is not installed.
    """
    follower, said = SceneFollower(directory, most_moments=most_moments), ""
    while True:
        news = follower.poll()
        if news.message != said:
            said = news.message
            say(said)
        if news.scene is not None and len(news.scene):
            break
        if give_up():
            return None
        time.sleep(interval)
    feed = Feed(news.scene, Path(directory).resolve().name, host=host, port=port, most_moments=most_moments)
    feed.say(news.message)
    watch = partial(_watch, follower, feed, interval, say, news.finished)
    threading.Thread(target=watch, name="worldline-live", daemon=True).start()
    return feed.viewer


class LiveViewer:
    """Shows a session of this program: give it every result, and it shows what is final.

    Nothing is served before the first final views; then :attr:`url` says where.
    """

    def __init__(
        self, *, host: str = "127.0.0.1", port: int = 8080, name: str = "stream", most_moments: int = MOST_MOMENTS
    ) -> None:
        """See :func:`open_live` for the arguments; ``name`` is what the panels call the scene."""
        self._options = {"host": host, "port": port, "most_moments": most_moments}
        self._name = name
        self._feed: Feed | None = None

    @property
    def viewer(self) -> Viewer | None:
        """The viewer; None before the first final views."""
        return None if self._feed is None else self._feed.viewer

    @property
    def url(self) -> str | None:
        """Where a browser on this machine finds it; None before the first final views."""
        return None if self._feed is None else self._feed.viewer.url

    def show(self, result: StreamAnswer | Iterable[FinalView]) -> None:
        """Add the final views of an answer of a session, or those that its ``finish`` returned."""
        finals = list(getattr(result, "completed", result))  # type: ignore[arg-type]
        if not finals:
            return
        views = tuple(each.to_view() for each in finals)
        scene = Scene(views=views, scale=finals[-1].scale_kind)
        if self._feed is None:
            self._feed = Feed(scene, self._name, **self._options)  # type: ignore[arg-type]
        else:
            self._feed.add(scene)
        self._feed.say(f"{self._feed.count} views")

    def stop(self) -> None:
        """End the viewer."""
        if self._feed is not None:
            self._feed.viewer.stop()


class Feed:
    """A viewer whose scene grows: keeps the newest moments and stands at the last of them."""

    def __init__(self, scene: Scene, name: str, *, host: str, port: int, most_moments: int) -> None:
        """Open the viewer with the first views."""
        from worldline.outputs.view import open_viewer

        self.most_moments = most_moments
        self.count = len(scene)  # views that came
        self.viewer = open_viewer([scene], host=host, port=port, names=[name])
        from worldline.outputs.view.panels.timeline import TimelinePanel  # viser is there, now that the viewer is

        self._next_id = len(scene)
        self._timeline = next(each for each in self.viewer.panels if isinstance(each, TimelinePanel))
        self._message = ""
        self.viewer.store.change(timing="still")
        stage = self.viewer.stages[0]
        _ = stage.depth_limit, stage.extent, stage.up  # stay as the first views have them
        self._add_controls(self.viewer.server.gui)

    def add(self, scene: Scene) -> None:
        """Append views; objects, rig and scale are those of the scene given."""
        self.count += len(scene)
        self.viewer.redraw(lambda: self._grow(scene, keep=True))

    def restart(self, scene: Scene) -> None:
        """Forget what was shown, and begin with other views."""
        self.count = len(scene)
        self.viewer.redraw(lambda: self._grow(scene, keep=False))

    def say(self, message: str) -> None:
        """Tell the user what the stream does."""
        if message != self._message:
            self._message = message
            self._status.content = f"{message}; the newest {self.most_moments} moments are shown"

    def _add_controls(self, gui: viser.GuiApi) -> None:
        with gui.add_folder("Live", order=-1.0):
            self._status = gui.add_markdown("")
            self._newest = gui.add_checkbox("Stay at the newest moment", initial_value=True)
        self._timeline.follow(True)
        self._timeline.extend(newest=True)

    def _grow(self, scene: Scene, *, keep: bool) -> None:
        """Replace the scene of the stage by one with more views; on the thread that draws."""
        stage = self.viewer.stages[0]
        old = zip(stage.scene.views, stage.ids, strict=True) if keep else ()
        known = {view.name: (view, key) for view, key in old}
        for view in scene.views:
            known.pop(view.name, None)  # given again: the newer one counts, as a new node
            known[view.name] = (view, self._next_id)
            self._next_id += 1
        pairs = _newest(list(known.values()), self.most_moments)
        whole = replace(scene, views=tuple(view for view, _ in pairs), tracks=None, gaussians=None)
        stage.replace_views(whole, [key for _, key in pairs])
        self._timeline.extend(newest=bool(self._newest.value))


def _newest(pairs: list[tuple[SceneView, int]], most: int) -> list[tuple[SceneView, int]]:
    """The views of the newest moments; those without a time stay."""
    times = sorted({view.timestamp for view, _ in pairs if view.timestamp is not None})
    cut = times[-most] if len(times) > most else float("-inf")
    return [pair for pair in pairs if pair[0].timestamp is None or pair[0].timestamp >= cut]


def _watch(follower: SceneFollower, feed: Feed, interval: float, say: Callable[[str], None], finished: bool) -> None:
    """Look into the folder until the viewer stops. What comes is said on the page, and here only how it stands."""
    while not feed.viewer.stopped:
        time.sleep(interval)
        if feed.viewer.stopped:
            return
        try:
            news = follower.poll()
            _pass_on(news, feed)
        except Exception as error:  # noqa: BLE001  the viewer goes on with what it has
            feed.viewer.failures.append(error)
            _log.exception("the viewer could not take what is new in %s", follower.directory)
            continue
        if news.kind == "restarted":
            say("Another stream has begun in the folder.")
        if news.finished and not finished:
            say(news.message)
        finished = news.finished


def _pass_on(news: News, feed: Feed) -> None:
    feed.say(news.message)
    if news.scene is None:
        return
    if news.kind == "restarted" and len(news.scene):
        feed.restart(news.scene)
    elif news.kind in ("grown", "same"):
        feed.add(news.scene)
