"""The timeline: a slider over the moments of the scenes, and a thread that plays them."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from viser import Icon

from worldline.outputs.view.logic.chase import Chase
from worldline.outputs.view.logic.clock import MODES, SPEEDS, Clock, Timeline, timeline_of
from worldline.outputs.view.panels.core import bind

if TYPE_CHECKING:
    import viser
    from viser import GuiApi

    from worldline.outputs.view.state import ViewState
    from worldline.outputs.view.viewer import Viewer

_BEAT = 1 / 30  # seconds between two looks at the clock while it plays


class TimelinePanel:
    """Slider, play and pause, speed, loop, and which moments are shown. Nothing where the views have no times."""

    def __init__(self, viewer: Viewer) -> None:
        self.viewer = viewer
        self.clock: Clock | None = None
        self.chase = Chase(viewer)
        self._wake = threading.Event()
        self._slider: Any = None  # of viser; values may be assigned, which its annotations do not say
        self._chase: Any = None

    def build(self, gui: GuiApi) -> None:
        """Add the controls, and stand at the first moment, or at that of the state that the viewer began with."""
        timeline = set_times(self.viewer)
        if timeline is None:
            return
        self.clock = Clock(timeline)
        with gui.add_folder("Time"):
            self._add_controls(gui, self.clock)
        if self.viewer.store.now.moment is None:
            self.viewer.store.change(moment=0, timing=usual_timing(self.viewer))
        self._say(self.clock.seek(self.viewer.store.now.moment or 0))
        self.viewer.store.subscribe(self._show_moment)
        self.viewer.store.subscribe(self.chase.move)
        self.viewer.server.on_client_connect(self.chase.welcome)
        self.viewer.on_stop(self._wake.set)
        threading.Thread(target=self._run, name="worldline-play", daemon=True).start()

    def extend(self, *, newest: bool) -> None:
        """Take in times that were added to the stages.

        Args:
            newest: go to the last moment.
        """
        timeline = set_times(self.viewer)
        if timeline is None or self.clock is None:
            return
        self.clock.extend(timeline)
        tick = self.clock.seek(len(timeline) - 1) if newest else self.clock.tick
        self._slider.max = max(1, len(timeline) - 1)
        self._slider.disabled = len(timeline) < 2
        self.viewer.store.change(moment=tick)
        self._say(tick)

    def follow(self, on: bool) -> None:
        """Have the tabs move along with the cameras, or leave them where they are."""
        if on == self.chase.on or self.clock is None:
            return
        if on:
            self.chase.start()
        self.chase.on = on
        self._chase.value = on

    def toggle(self) -> None:
        """Play, or pause."""
        if self.clock is None:
            return
        if self.clock.playing:
            self.clock.playing = False
        else:
            self.clock.play()
        self._wake.set()
        self._show_playing()

    def _add_controls(self, gui: GuiApi, clock: Clock) -> None:
        count = len(clock.timeline)
        self._slider = gui.add_slider(
            "Moment", min=0, max=max(1, count - 1), step=1, initial_value=0, disabled=count < 2
        )
        self._label = gui.add_markdown("")
        self._button = gui.add_button("Play", icon=Icon.PLAYER_PLAY, hint="Key K", disabled=count < 2)
        self._speed = gui.add_dropdown("Speed", SPEEDS, initial_value="1x")
        self._loop = gui.add_checkbox("Loop", initial_value=clock.loop)
        self._chase = gui.add_checkbox("Follow", self.chase.on, hint="Move along with the cameras")
        modes = gui.add_dropdown("Points of", tuple(MODES.values()), initial_value=MODES[self.viewer.store.now.timing])
        names = {label: name for name, label in MODES.items()}
        bind(self.viewer.store, modes, "timing", to_state=names.__getitem__, to_control=MODES.__getitem__)
        self._slider.on_update(self._dragged)
        self._button.on_click(lambda _: self.toggle())
        self._speed.on_update(lambda _: setattr(clock, "speed", float(self._speed.value.rstrip("x"))))
        self._loop.on_update(lambda _: setattr(clock, "loop", self._loop.value))
        self._chase.on_update(lambda _: self.follow(self._chase.value))
        gui.add_command("Play or pause", hotkey="K", icon=Icon.PLAYER_PLAY).on_trigger(lambda _: self.toggle())

    def _dragged(self, event: viser.GuiEvent[viser.GuiSliderHandle[int]]) -> None:
        """The user has moved the slider; where the player moved it, there is nothing to do."""
        if event.client is None or self.clock is None:
            return
        self.viewer.store.change(moment=self.clock.seek(int(self._slider.value)))

    def _show_moment(self, state: ViewState, changed: frozenset[str]) -> None:
        """Show where the state stands, whoever moved it."""
        if "moment" in changed and state.moment is not None and self.clock is not None:
            if self.clock.tick != state.moment:
                self.clock.seek(state.moment)
            self._say(self.clock.tick)

    def _say(self, tick: int) -> None:
        if self.clock is None:
            return
        timeline = self.clock.timeline
        with self.viewer.server.atomic():
            self._slider.value = tick
            timed = any(stage.timed for stage in self.viewer.stages)
            where = f"{timeline.seconds[tick]:.2f} s," if timed else "frame"
            self._label.content = f"{where} {tick + 1} of {len(timeline)}"

    def _show_playing(self) -> None:
        playing = self.clock is not None and self.clock.playing
        self._button.label = "Pause" if playing else "Play"
        self._button.icon = Icon.PLAYER_PAUSE if playing else Icon.PLAYER_PLAY

    def _run(self) -> None:
        """Play until the viewer ends."""
        last = time.monotonic()
        while not self.viewer.stopped:
            clock = self.clock
            if clock is None or not clock.playing:
                self._wake.wait()
                self._wake.clear()
                last = time.monotonic()
                continue
            time.sleep(_BEAT)
            now = time.monotonic()
            if clock.advance(now - last):
                self.viewer.store.change(moment=clock.tick)
            if not clock.playing:
                self._show_playing()
            last = now


def usual_timing(viewer: Viewer) -> str:
    """The mode to begin with: where it is known what moves, only that comes and goes; a video shows frame by frame."""
    scenes = [stage.scene for stage in viewer.stages]
    if any(view.dynamic is not None for scene in scenes for view in scene.views):
        return "still"
    return "moment" if any(scene.tracks is not None for scene in scenes) else "all"


def set_times(viewer: Viewer) -> Timeline | None:
    """One timeline for all stages: each is told which of its moments every tick of it means."""
    timeline = timeline_of([stage.times for stage in viewer.stages])
    if timeline is not None:
        for stage, moments in zip(viewer.stages, timeline.moments, strict=True):
            stage.set_ticks(moments)
    return timeline
