"""Evaluation of streams: exact streams have no error, known errors have known figures, sweeps vary one thing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stream_network import tiny_network
from worldline import worlds
from worldline.errors import InputError
from worldline.eval.statistics import mean_interval
from worldline.eval.streams import (
    STREAM_SWEEPS,
    Disturbance,
    DriveSpec,
    DriveStore,
    StreamDrive,
    StreamSettings,
    StreamSweepSettings,
    evaluate_streams,
    has_memory,
    run_stream_sweep,
    score_drive,
    stream_sweep_named,
)
from worldline.eval.streams.feed import UNDISTURBED, given_rig, pushes
from worldline.eval.streams.figures import STREAM_FIGURES
from worldline.eval.streams.lighting import LIGHTS, add_glare, add_rain, relit, sun_direction
from worldline.eval.streams.plan import Case
from worldline.eval.streams.runs import Estimate, lifted, run_constant, run_road
from worldline.eval.streams.scores import score_groups
from worldline.eval.streams.sheet import write_sheet
from worldline.models.config import MVDust3rConfig
from worldline.models.mvdust3r import MVDust3r
from worldline.pipeline import Reconstructor
from worldline.types import ImageTransform

HEIGHT, WIDTH, STEPS = 32, 48, 4
SENSORS = ("CAM_FRONT", "CAM_FRONT_LEFT")
SMALL = {"height": HEIGHT, "width": WIDTH, "steps": STEPS, "sensors": SENSORS}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> DriveStore:
    return DriveStore(tmp_path_factory.mktemp("drives"))


@pytest.fixture(scope="module")
def drive(store: DriveStore) -> StreamDrive:
    return store.get(DriveSpec(worlds.TEST_SEEDS[0], **SMALL))


@pytest.fixture(scope="module")
def model() -> Reconstructor:
    return Reconstructor(tiny_network(), name="tiny-mini", device="cpu", image_size=224)


def exact(drive: StreamDrive, factor: float = 1.0, sigma: float = 0.1) -> dict[tuple[int, str], Estimate]:
    """The truth as an estimate, its depth times a factor; moving pixels marked."""
    found = {}
    for step in range(len(drive.times)):
        for row, name in enumerate(drive.spec.sensors):
            depth, camera = drive.depth[step, row] * np.float32(factor), drive.camera(step, row)
            moving = drive.speed[step, row] >= 0.5
            transform = ImageTransform.identity(HEIGHT, WIDTH)
            found[step, name] = Estimate(depth, lifted(depth, camera), depth > 0, camera, transform, moving, sigma)
    return found


def test_an_exact_stream_has_no_error(drive: StreamDrive) -> None:
    figures = score_drive(drive, exact(drive)).figures
    for name in ("abs_rel", "sq_rel", "sq_rel_released", "rmse", "abs_rel_scaled", "scale_error", "masked", "sky_kept"):
        assert figures[name] == pytest.approx(0, abs=1e-6), name
    for name in ("delta_1_25", "delta_1_25_3", "scale_covered", "normal_consistency"):
        assert figures[name] == pytest.approx(1), name
    assert figures["accuracy"] == pytest.approx(0, abs=1e-4)
    assert figures["consistency"] < 0.02  # read between pixels
    assert figures["images"] == STEPS * len(SENSORS)
    assert set(figures) <= set(STREAM_FIGURES)


def test_a_wrong_scale_shows_in_the_metric_figures_alone(drive: StreamDrive) -> None:
    near = np.where(drive.depth > 60, 0, drive.depth)  # nothing is clipped at 80 m
    scores = score_drive(replace(drive, depth=near), exact(replace(drive, depth=near), 1.3))
    assert scores.figures["abs_rel"] == pytest.approx(0.3, abs=1e-5)
    assert scores.figures["sq_rel_released"] == pytest.approx(0.09, abs=1e-5)
    assert scores.figures["delta_1_25"] == 0
    assert scores.figures["abs_rel_scaled"] == pytest.approx(0, abs=1e-5)
    assert scores.figures["scale_error"] == pytest.approx(np.log(1.3), abs=1e-5)
    assert scores.figures["scale_covered"] == 0  # 0.26 is more than twice 0.1
    assert score_drive(drive, exact(drive, 1.3, 0.2), cloud=False).figures["scale_covered"] == 1
    assert scores.of_sensor("CAM_FRONT_LEFT")["abs_rel"] == pytest.approx(0.3, abs=1e-5)
    assert list(scores.by_step("abs_rel")) == list(range(STEPS))


def test_the_mask_of_motion_is_counted_where_things_move(drive: StreamDrive) -> None:
    speed = np.zeros_like(drive.speed)
    speed[:, 0, -8:, :8] = 3.0  # a moving thing in the lower left of the front camera
    moved = replace(drive, speed=speed, depth=np.where(drive.depth > 0, drive.depth, 10.0).astype(np.float32))
    right = exact(moved)
    figures = score_drive(moved, right, cloud=False).figures
    assert (figures["mask_iou"], figures["mask_recall"], figures["mask_false"]) == (1, 1, 0)
    half = {}
    for key, each in right.items():
        marked = np.zeros((HEIGHT, WIDTH), bool)
        marked[-8:, 4:12] = key[1] == "CAM_FRONT"  # half of it, and as much beside it
        half[key] = replace(each, dynamic=marked)
    figures = score_drive(moved, half, cloud=False).figures
    assert figures["mask_recall"] == pytest.approx(0.5)
    assert figures["mask_iou"] == pytest.approx(1 / 3)
    groups = score_groups(moved, half, lambda truth, key: {"moving": truth.speed > 1, "still": truth.speed == 0})
    assert groups["moving"]["marked"] == pytest.approx(0.5)
    assert groups["moving"]["share"] + groups["still"]["share"] == pytest.approx(1)
    assert groups["still"]["abs_rel"] == pytest.approx(0, abs=1e-6)


def test_what_is_known_of_motion_agrees_with_the_depth_over_time(drive: StreamDrive) -> None:
    """Points that the image before shows are found there; speeds are those of street traffic."""
    assert 0.2 < drive.seen[1:].mean() < 1
    assert float(drive.speed.max()) < 40
    assert not drive.speed[drive.depth == 0].any()
    np.testing.assert_allclose(np.diff(drive.times), 0.25)
    assert drive.way()[0] == 0
    assert (np.diff(drive.way()) >= 0).all()
    road = run_road(drive).final[1, "CAM_FRONT"].depth[-1]
    truth = drive.depth[1, 0, -1]
    assert np.median(np.abs(road - truth)[truth > 0] / truth[truth > 0]) < 0.05  # the road begins below the camera
    constant = score_drive(drive, run_constant(drive).final, cloud=False).figures
    assert constant["abs_rel"] > score_drive(drive, run_road(drive).final, cloud=False).figures["abs_rel"] > 0.01


def test_a_drive_is_rendered_once_and_read_again(
    store: DriveStore, drive: StreamDrive, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert store.get(drive.spec) is drive
    monkeypatch.setattr("worldline.eval.streams.drives.render_drive", lambda spec: pytest.fail("rendered again"))
    again = DriveStore(store.folder).get(drive.spec)
    np.testing.assert_array_equal(again.images, drive.images)
    np.testing.assert_array_equal(again.world_from_rig, drive.world_from_rig)
    (path,) = store.folder.glob("*.safetensors")
    path.write_bytes(b"damaged")
    monkeypatch.setattr("worldline.eval.streams.drives.render_drive", lambda spec: drive)
    assert DriveStore(store.folder).get(drive.spec) is drive
    np.testing.assert_array_equal(DriveStore(store.folder).get(drive.spec).depth, drive.depth)


def test_disturbances_have_the_size_they_are_asked_for(drive: StreamDrive) -> None:
    many = replace(drive, world_from_rig=np.repeat(drive.world_from_rig[:1], 400, 0), times=np.arange(400.0))
    many = replace(many, images=np.repeat(drive.images[:1], 400, 0), depth=np.repeat(drive.depth[:1], 400, 0))
    given = list(pushes(many, Disturbance(pose_move=0.2, pose_turn=1.0, lost=0.25)))
    errors = np.stack([np.linalg.inv(many.world_from_rig[0]) @ push.world_from_rig for push in given])
    assert np.sqrt((errors[:, :3, 3] ** 2).sum(1).mean()) == pytest.approx(0.2, rel=0.1)
    angles = np.degrees(np.arccos(np.clip((np.trace(errors[:, :3, :3], axis1=1, axis2=2) - 1) / 2, -1, 1)))
    assert np.sqrt((angles**2).mean()) == pytest.approx(1.0, rel=0.1)
    assert np.mean([len(push.images) for push in given]) == pytest.approx(1.5, rel=0.1)
    plain = list(pushes(drive, UNDISTURBED))
    np.testing.assert_array_equal(plain[2].world_from_rig, drive.world_from_rig[2])
    np.testing.assert_array_equal(plain[2].images["CAM_FRONT_LEFT"], drive.images[2, 1])
    alone = next(iter(pushes(drive, Disturbance(missing=("CAM_FRONT",), poses=False))))
    assert alone.images.keys() == {"CAM_FRONT_LEFT"}
    assert alone.world_from_rig is None
    rig = given_rig(drive, Disturbance(focal=0.02))
    ratio = rig.intrinsics[:, 0, 0] / drive.intrinsics[:, 0, 0]
    np.testing.assert_allclose(rig.intrinsics[:, 1, 1] / drive.intrinsics[:, 1, 1], ratio)
    assert (ratio != 1).all()
    assert (np.abs(ratio - 1) < 0.1).all()
    assert given_rig(drive, Disturbance(calibrated=False)).intrinsics is None
    with pytest.raises(InputError, match="out of range"):
        Disturbance(lost=1.0)


def test_rain_takes_contrast_and_glare_is_around_the_sun(drive: StreamDrive) -> None:
    image = drive.images[0, 0]
    assert add_rain(image, 0.0, 1) is image
    light, strong = (add_rain(image, strength, 1).astype(float) for strength in (0.2, 1.0))
    assert strong.std() < light.std() < image.std() * 1.1
    np.testing.assert_array_equal(add_rain(image, 1.0, 1), add_rain(image, 1.0, 1))
    sun, sky = sun_direction(drive.world_from_rig), np.ones((HEIGHT, WIDTH), bool)
    front, left = (add_glare(drive.images[0, row], drive.camera(0, row), sun, sky) for row in (0, 1))
    assert (front.astype(int) - image).mean() > (left.astype(int) - drive.images[0, 1]).mean() > 0
    ahead = drive.camera(0, 0).project((drive.camera(0, 0).center + 100 * sun)[None])[0][0]
    x, y = np.rint(ahead).astype(int)
    assert front[np.clip(y, 0, HEIGHT - 1), x].min() > 240
    np.testing.assert_array_equal(add_glare(image, drive.camera(0, 0), sun, ~sky), image)  # behind a house


def test_the_same_street_under_another_light_has_the_same_depth(drive: StreamDrive) -> None:
    dusk = DriveStore().get(replace(drive.spec, light="dusk"))
    np.testing.assert_array_equal(dusk.depth, drive.depth)
    assert (dusk.images != drive.images).mean() > 0.5
    world = worlds.describe("street", worlds.TEST_SEEDS[0], views=12, shooting="rig", rate=4.0)
    lit = {light: relit(world, light) for light in LIGHTS}
    assert lit["own"] is world
    high = {light: lit[light].light_position[0, 2] for light in ("noon", "glare", "dusk", "night")}
    assert high["noon"] > high["glare"] > high["dusk"] > high["night"]
    assert len(lit["night"].light_position) == 3  # lamps, no sun
    np.testing.assert_allclose(lit["night"].photo.exposure, world.photo.exposure - 1.0)
    sun = lit["glare"].light_position[0] / np.linalg.norm(lit["glare"].light_position[0])
    np.testing.assert_allclose(sun, sun_direction(world.world_from_rig), atol=1e-12)
    with pytest.raises(InputError, match="no light 'fog'"):
        DriveSpec(0, light="fog")


def test_a_report_has_every_method_on_every_drive(model: Reconstructor, store: DriveStore, tmp_path: Path) -> None:
    settings = StreamSettings(drives=1, steps=3, height=HEIGHT, width=WIDTH, cache=store.folder)
    assert has_memory({"tiny": model})
    report = evaluate_streams({"tiny": model}, settings)
    report.about["command"] = "worldline eval street"
    assert len(report.methods) == 6
    assert report.methods[0] == "tiny"
    for trial in report.trials:
        assert len(trial.scores.images) == 18
        assert np.isfinite(trial.scores.figures["abs_rel"])
    files = report.write(tmp_path / "streams.json", plot=False)
    content = json.loads(files[0].read_text())
    assert content["seeds"] == [worlds.TEST_SEEDS[0]] * 2
    assert {row["against"] for row in content["comparison"]} == set(report.methods[1:])
    text = files[1].read_text()
    assert "worldline eval street" in text
    assert "| CAM_BACK_RIGHT |" in text
    assert report.of("tiny")[worlds.TEST_SEEDS[0]].figures["latency"] > 0
    single, preview = (report.of(f"tiny, {name}")[worlds.TEST_SEEDS[0]] for name in ("single frame", "preview"))
    assert single.images[0, "CAM_FRONT"] == preview.images[0, "CAM_FRONT"]  # the first image has no past in either
    assert single.images[2, "CAM_FRONT"] != preview.images[2, "CAM_FRONT"]


def test_models_without_a_memory_are_not_measured_together_with_one(model: Reconstructor) -> None:
    photos = Reconstructor(MVDust3r(MVDust3rConfig.mini()), name="photos", device="cpu")
    assert not has_memory({"photos": photos})
    with pytest.raises(InputError, match="photos has no memory"):
        has_memory({"tiny": model, "photos": photos})


@pytest.mark.parametrize(
    "name",
    [
        "memory",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("scale", "pruning", "motion", "poses", "dropout", "length")
        ),
    ],
)
def test_a_sweep_measures_all_its_cases(name: str, model: Reconstructor, store: DriveStore, tmp_path: Path) -> None:
    sweep = stream_sweep_named(name)
    cases = tuple(replace(case, steps=(1, STEPS)) if case.steps[1] else case for case in sweep.cases[-3:])
    small = StreamSweepSettings(drives=1, drive=SMALL, cache=store.folder, plot=False, command="worldline eval street")
    files = run_stream_sweep(replace(sweep, cases=cases), {"tiny": model}, tmp_path, small)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"street_{name}.json", f"street_{name}.md"]
    content = json.loads(files["json"].read_text())
    if cases[0].split is None:
        assert [record["level"] for record in content["records"]] == [case.level for case in cases]
    else:
        assert len(content["records"]) >= len(cases)
    assert content["records"][0]["abs_rel"] is not None
    assert sweep.question in files["md"].read_text()


def test_sweeps_compare_with_a_level_they_have_and_name_their_figures() -> None:
    for sweep in STREAM_SWEEPS.values():
        assert sweep.cases[0].split is not None or sweep.base in [case.level for case in sweep.cases]
        assert {*sweep.shown, *sweep.panels} <= set(STREAM_FIGURES)
        assert all(isinstance(case, Case) for case in sweep.cases)
    with pytest.raises(InputError, match="no sweep of streams 'fog'") as refused:
        stream_sweep_named("fog")
    assert "lighting" in refused.value.remedy


@pytest.mark.slow
def test_a_sheet_shows_the_stream(model: Reconstructor, store: DriveStore, tmp_path: Path) -> None:
    settings = StreamSettings(drives=1, steps=3, height=HEIGHT, width=WIDTH, cache=store.folder)
    path = write_sheet(model, settings, tmp_path / "sheet.jpg", tile=48)
    with Image.open(path) as picture:
        assert picture.width == 6 * 48
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    drive = store.get(settings.spec(0))
    front = drive.images[1, 0]  # second column of the first row of pictures
    assert np.abs(pixels[60 : 60 + HEIGHT, 48:96] - front)[16:].mean() < 12
    assert ((pixels[-90:, :, 0] > 180) & (pixels[-90:, :, 1] < 60)).any()  # the way of the car


@pytest.mark.slow
def test_plots_are_drawn(model: Reconstructor, store: DriveStore, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    settings = StreamSettings(drives=1, steps=3, height=HEIGHT, width=WIDTH, cache=store.folder)
    files = evaluate_streams({"tiny": model}, settings).write(tmp_path / "streams.json", plot=True)
    assert files[2].stat().st_size > 10_000
    small = StreamSweepSettings(drives=1, drive=SMALL, cache=store.folder)
    sweep = replace(STREAM_SWEEPS["rain"], cases=STREAM_SWEEPS["rain"].cases[:2])
    assert run_stream_sweep(sweep, {"tiny": model}, tmp_path, small)["png"].stat().st_size > 10_000


def test_means_over_drives_say_how_far_they_may_be_off() -> None:
    mean, low, high = mean_interval([0.1, 0.2, 0.3, float("nan")])
    assert mean == pytest.approx(0.2)
    assert low < mean < high
    assert np.isnan(mean_interval([0.1])[1])
    assert np.isnan(mean_interval([])[0])
