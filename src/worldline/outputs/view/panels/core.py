"""The controls of the core: points, cameras, the page and its files, what is known of the scenes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from viser import Icon

from worldline.outputs.export import FORMATS
from worldline.outputs.view.downloads import send_export, send_screenshot
from worldline.outputs.view.logic.coloring import useful_colorings
from worldline.outputs.view.panels.information import count_text, describe, gaussians_text
from worldline.outputs.view.state import DEFAULT_BUDGET
from worldline.outputs.view.viewer import BACKGROUNDS

if TYPE_CHECKING:
    import viser
    from viser import GuiApi, GuiEvent, GuiInputHandle

    from worldline.outputs.view.stage import Stage
    from worldline.outputs.view.state import Store, ViewState
    from worldline.outputs.view.viewer import Viewer

_STEPS = 200  # of the depth slider
_MOST_BUDGET = 5 * DEFAULT_BUDGET


def on_value(control: GuiInputHandle[Any], change: Callable[[Any], object]) -> None:
    """Call ``change`` with the newest value of a control whenever someone moves it."""

    @control.on_update
    def _(_: GuiEvent[Any]) -> None:
        change(control.value)


def bind(
    store: Store,
    control: GuiInputHandle[Any],
    field: str,
    *,
    to_state: Callable[[Any], Any] = lambda value: value,
    to_control: Callable[[Any], Any] = lambda value: value,
) -> None:
    """Keep a control and a field of the state equal, whoever changes either."""

    handle: Any = control  # whose value can be set, though its base class does not say so

    def follow(state: ViewState, changed: frozenset[str]) -> None:
        if field in changed and to_state(handle.value) != getattr(state, field):
            handle.value = to_control(getattr(state, field))

    on_value(control, lambda value: store.change(**{field: to_state(value)}))
    store.subscribe(follow)


class PointsPanel:
    """What of the points is drawn, and how."""

    def __init__(self, viewer: Viewer) -> None:
        self.viewer = viewer

    def build(self, gui: GuiApi) -> None:
        """Add the controls; the switch to Gaussians only where there are some."""
        viewer, store = self.viewer, self.viewer.store
        with gui.add_folder("Points"):
            if any(stage.scene.gaussians is not None for stage in viewer.stages):
                self._add_switch(gui)
            confidence = gui.add_slider(
                "Hide least sure",
                min=0,
                max=99,
                step=1,
                initial_value=round(store.now.confidence),
                hint="Per cent of the pixels, of lowest confidence, that are left out",
            )
            self._add_depth(gui)
            size = gui.add_slider("Point size", 0.2, 4.0, 0.1, store.now.point_size, hint="1: surfaces are just closed")
            budget = gui.add_slider(
                "Budget (k)",
                min=50,
                max=max(_MOST_BUDGET, store.now.budget) // 1000,
                step=50,
                initial_value=max(store.now.budget // 1000, 50),
                hint="Thousands of points drawn at most, picked evenly; fewer are turned more smoothly",
            )
            coloring = gui.add_dropdown("Colour", useful_colorings(viewer.stages), initial_value=store.now.coloring)
            count = gui.add_markdown("")
        bind(store, confidence, "confidence", to_state=float, to_control=round)
        bind(store, size, "point_size", to_state=float)
        bind(store, budget, "budget", to_state=lambda value: 1000 * int(value), to_control=lambda value: value // 1000)
        bind(store, coloring, "coloring")

        def say(state: ViewState) -> None:
            count.content = count_text(*drawn) if state.shown == "points" else gaussians_text(viewer.stages)

        def count_anew(*counts: int) -> None:
            drawn[:] = counts
            say(store.now)

        drawn = [0, 0]
        viewer.on_count(count_anew)
        store.subscribe(lambda state, changed: say(state) if "shown" in changed else None)

    def _add_switch(self, gui: GuiApi) -> None:
        store = self.viewer.store
        shown = gui.add_dropdown("Draw", ("points", "gaussians"), initial_value=store.now.shown, hint="Key G")
        bind(store, shown, "shown")

        def swap(_: viser.CommandEvent) -> None:
            store.change(shown="points" if store.now.shown == "gaussians" else "gaussians")

        gui.add_command("Points or Gaussians", hotkey="G", icon=Icon.DROPLET).on_trigger(swap)

    def _add_depth(self, gui: GuiApi) -> None:
        """Depth in the unit of the scene, in per cent where several scenes have units of their own."""
        store, stages = self.viewer.store, self.viewer.stages
        limit, label = stages[0].depth_limit, "Depth (m)" if stages[0].scene.metric else "Depth"
        if len(stages) > 1:
            limit, label = 100.0, "Depth (%)"
        step = float(f"{limit / _STEPS:.1g}")  # a round number
        last = max(round(limit / step), 1)
        control = gui.add_multi_slider(
            label,
            min=0.0,
            max=last * step,
            step=step,
            initial_value=tuple(share * last * step for share in store.now.depth),
            hint="Distance from the camera that saw the point; at the right end there is no limit",
        )
        bind(
            store,
            control,
            field="depth",
            to_state=lambda ends: tuple(round(end / step) / last for end in ends),
            to_control=lambda shares: tuple(round(share * last) * step for share in shares),
        )


class CamerasPanel:
    """Frusta: whether and how large."""

    def __init__(self, viewer: Viewer) -> None:
        self.viewer = viewer

    def build(self, gui: GuiApi) -> None:
        """Add the controls."""
        store = self.viewer.store
        with gui.add_folder("Cameras"):
            shown = gui.add_checkbox("Show", initial_value=store.now.frusta, hint="Click one to look through it; key C")
            size = gui.add_slider("Size", 0.1, 4.0, 0.1, initial_value=store.now.frustum_size)
        bind(store, shown, "frusta")
        bind(store, size, "frustum_size", to_state=float)

        def toggle(_: viser.CommandEvent) -> None:
            store.change(frusta=not store.now.frusta)

        gui.add_command("Show or hide cameras", hotkey="C", icon=Icon.CAMERA).on_trigger(toggle)


class PagePanel:
    """Where the tab looks from, its background, and files to take along."""

    def __init__(self, viewer: Viewer) -> None:
        self.viewer = viewer

    def build(self, gui: GuiApi) -> None:
        """Add the controls."""
        viewer, store = self.viewer, self.viewer.store
        with gui.add_folder("Page"):
            back = gui.add_button("Back to the start", icon=Icon.HOME, hint="Key H")
            background = gui.add_dropdown("Background", tuple(BACKGROUNDS), initial_value=store.now.background)
            picture = gui.add_button("Screenshot", icon=Icon.CAMERA, hint="A PNG of what this tab shows; key P")
            chosen = gui.add_dropdown("Format", tuple(FORMATS))
            described = gui.add_markdown("")
            scene = gui.add_dropdown("Scene", tuple(_labels(viewer.stages)), visible=len(viewer.stages) > 1)
            export = gui.add_button("Export", icon=Icon.DOWNLOAD, hint="Large scenes take some seconds")
        bind(store, background, "background")

        def explain(name: str) -> None:
            described.content = FORMATS[name].description

        def home(event: Any) -> None:
            if event.client is not None:
                viewer.fly_home(event.client)

        def shoot(event: Any) -> None:
            if event.client is not None:
                send_screenshot(event.client, BACKGROUNDS[store.now.background], viewer.stages[0].name)

        def save(event: Any) -> None:
            stage = viewer.stages[_labels(viewer.stages).index(scene.value)]
            if event.client is not None:
                send_export(event.client, stage.scene, stage.name, chosen.value)

        explain(chosen.value)
        on_value(chosen, explain)
        back.on_click(home)
        picture.on_click(shoot)
        export.on_click(save)
        gui.add_command("Back to the start", hotkey="H", icon=Icon.HOME).on_trigger(home)
        gui.add_command("Screenshot", hotkey="P", icon=Icon.CAMERA).on_trigger(shoot)


class AboutPanel:
    """Model, licence, scale, counts and warnings of each scene."""

    def __init__(self, viewer: Viewer) -> None:
        self.viewer = viewer

    def build(self, gui: GuiApi) -> None:
        """Add the text."""
        for label, stage in zip(_labels(self.viewer.stages), self.viewer.stages, strict=True):
            title = f"About {label}" if len(self.viewer.stages) > 1 else "About this scene"
            with gui.add_folder(title, expand_by_default=False):
                gui.add_markdown(describe(stage))


def _labels(stages: tuple[Stage, ...]) -> list[str]:
    """Names of the stages that differ from each other."""
    names = [stage.name for stage in stages]
    if len(set(names)) == len(names):
        return names
    return [f"{stage.prefix.strip('/').upper()}: {stage.name}" for stage in stages]
