"""A video through a real D4RT with random weights: reading, checking, chunks, and every method end to end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from PIL import Image
from test_inputs_video import EVEN, ORIENTATIONS, set_matrix, write

from worldline import Scene, weights
from worldline.cli import main
from worldline.errors import InputError, MemoryPlanError
from worldline.inputs import KnownCamera
from worldline.models.config import D4rtConfig
from worldline.models.d4rt import D4rt, Queries
from worldline.pipeline import Reconstructor
from worldline.pipeline.memory import memory_errors
from worldline.pipeline.video import EncodedVideo, squashed_views
from worldline.pipeline.video.encoded import _encoded
from worldline.pipeline.video.frames import open_footage, squash
from worldline.pipeline.video.plan import plan_video
from worldline.scene.video.assembly import VideoSceneOptions
from worldline.scene.video.cameras import CameraOptions
from worldline.types import Views

FRAMES, HEIGHT, WIDTH = 5, 30, 40
CONFIG = D4rtConfig(
    clip_frames=6, image_size=(32, 32), encoder_dim=48, encoder_depth=2, encoder_heads=2, encoder_mlp_dim=96,
    decoder_dim=48, decoder_depth=2, decoder_heads=2, decoder_mlp_dim=96,
)  # fmt: skip
FEW = CameraOptions(grid=6, anchors=2)


@pytest.fixture(scope="module")
def model() -> Reconstructor:
    torch.manual_seed(0)
    network = D4rt(CONFIG).eval()
    torch.nn.init.trunc_normal_(network.head.weight, std=0.5)  # answers that differ
    return Reconstructor(network, name="d4rt-tiny", device="cpu", license="Apache-2.0", image_size=32)


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (FRAMES, HEIGHT, WIDTH, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def video(model: Reconstructor, frames: np.ndarray) -> EncodedVideo:
    return encode(model, frames)


def encode(model: Reconstructor, source: object, **choices: object) -> EncodedVideo:
    found = model.encode(source, **choices)
    assert isinstance(found, EncodedVideo)
    return found


def random_queries(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [*rng.uniform(0, 1, (2, count)), *rng.integers(0, FRAMES, (3, count))]


def test_answers_keep_what_they_promise(video: EncodedVideo) -> None:
    answers = video.query(*random_queries(300))
    assert answers.points.shape == (300, 3) and answers.points.dtype == np.float32
    assert (answers.visibility >= 0).all() and (answers.visibility <= 1).all() and answers.visibility.std() > 0.01
    assert (answers.confidence > 0).all()
    np.testing.assert_allclose(np.linalg.norm(answers.normal, axis=-1), 1, atol=1e-4)
    wide = video.query(0.5, np.array([[0.2], [0.4]]), np.arange(3), 0, 1)
    assert wide.uv.shape == (2, 3, 2) and wide.visible.shape == (2, 3)
    assert video.query(np.zeros(0), 0.5, 0, 0, 0).points.shape == (0, 3)
    assert video.query(0.5, 0.5, 0, 0, 0).points.shape == (3,)


def test_answers_do_not_depend_on_company(video: EncodedVideo) -> None:
    queries = random_queries(257)
    whole = video.query(*queries)
    pieces = replace(video, chunk=10).query(*queries)
    order = np.random.default_rng(2).permutation(257)
    shuffled = video.query(*(part[order] for part in queries))
    single = video.query(*(part[7] for part in queries))
    for name in ("points", "uv", "visibility", "motion", "normal", "confidence"):
        values = getattr(whole, name)
        np.testing.assert_allclose(getattr(pieces, name), values, atol=1e-5)
        np.testing.assert_allclose(getattr(shuffled, name), values[order], atol=1e-5)
        np.testing.assert_allclose(getattr(single, name), values[7], atol=1e-5)


@pytest.mark.parametrize(
    ("queries", "message"),
    [
        ((1.01, 0.5, 0, 0, 0), "u of a query"), ((0.5, -0.01, 0, 0, 0), "v of a query"),
        ((np.nan, 0.5, 0, 0, 0), "u of a query"), ((0.5, 0.5, -1, 0, 0), "t_src reaches from -1"),
        ((0.5, 0.5, 0, FRAMES, 0), "t_tgt reaches from 5"), ((0.5, 0.5, 0, 0, [0, 9]), "t_cam reaches from 0 to 9"),
        ((0.5, 0.5, 0.5, 0, 0), "t_src has type float64"), ((np.zeros(3), np.zeros(4), 0, 0, 0), "do not broadcast"),
    ],
)  # fmt: skip
def test_nothing_is_clamped(video: EncodedVideo, queries: tuple, message: str) -> None:
    with pytest.raises(InputError, match=message):
        video.query(*queries)


def test_every_method_end_to_end(video: EncodedVideo, tmp_path: Path) -> None:
    assert video.depth(frames=[0, 4], size=(6, 8)).depth.shape == (2, 6, 8)
    assert video.intrinsics().matrices.shape == (FRAMES, 3, 3)
    assert len(video.cameras(FEW, reference=2).status) == FRAMES
    assert video.cameras(FEW, references="chain").reference == 0
    for frame in ("camera", "world"):
        assert video.tracks("grid:3", frame=frame).points.shape == (9, FRAMES, 3)  # type: ignore[arg-type]
    assert video.tracks([[3.0, 4.0, 1]], pixels="project").pixels.shape == (1, FRAMES, 2)
    cloud = video.point_cloud(size=(6, 8), visible_only=False)
    assert cloud.colors is not None and len(cloud.colors) == len(cloud)
    assert video.dynamic_mask(size=(6, 8), reach=1).mask.shape == (FRAMES, 6, 8)
    assert len(video.all_tracks(cell=10.0)) >= 12
    scene = video.scene(VideoSceneOptions(cameras=FEW, dynamic_cells=8, tracks="grid:2"), size=(12, 16))
    assert len(scene) == FRAMES and scene.views[0].image.shape == (12, 16, 3)
    assert scene.provenance.model == "d4rt-tiny" and scene.provenance.timings["encode"] > 0
    scene.save(tmp_path / "scene")
    with pytest.raises(InputError, match="Unknown option"):
        video.scene(quality=3)
    with pytest.raises(InputError, match="Unknown option"):
        video.cameras(best=True)


def test_reconstruct_is_a_scene_of_the_video(model: Reconstructor) -> None:
    many = np.random.default_rng(3).integers(0, 256, (20, HEIGHT, WIDTH, 3)).astype(np.uint8)
    scene = model.reconstruct(many, size=16, max_views=3)
    assert [view.name for view in scene.views] == ["frame_000000", "frame_000010", "frame_000019"]
    assert scene.views[0].image.shape == (12, 16, 3)
    assert len(model.reconstruct(many, size=16)) == 6


def test_cameras_of_a_file_are_matched_by_name(model: Reconstructor, tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", EVEN[:6])
    pose = np.eye(4)
    matrix = np.array([[70.0, 0, 32], [0, 70, 24], [0, 0, 1]])
    known = {f"frame_{index:06d}": KnownCamera(matrix, pose if index == 1 else None) for index in range(6)}
    scene = model.reconstruct(path, known=known, size=16, max_views=4)
    assert [view.pose_status for view in scene.views].count("given") == 0  # frames 0, 2, 3, 5 are taken
    np.testing.assert_array_equal(scene.views[1].camera.intrinsics, matrix)
    del known["frame_000002"]
    with pytest.raises(InputError, match="intrinsics of 1 of 4 frames"):
        model.reconstruct(path, known=known, size=16, max_views=4)
    with pytest.raises(InputError, match="reads videos"):
        model.reconstruct_views(Views(squashed_views(np.zeros((2, 8, 8, 3), np.uint8), (8, 8), (8, 8))))


def test_the_network_sees_a_square_and_the_true_shape(model: Reconstructor, frames: np.ndarray) -> None:
    video = encode(model, frames)
    assert video.memory.pixels.shape == (1, FRAMES, 32, 32, 3)
    square = torch.from_numpy(squash(frames, (32, 32))).permute(0, 3, 1, 2)[None].float() / 255
    queries = random_queries(20)
    kinds = [torch.float32] * 2 + [torch.int64] * 3
    asked = Queries(*(torch.from_numpy(part).to(kind)[None] for part, kind in zip(queries, kinds, strict=True)))
    network = video.network
    with torch.inference_mode():
        right, wrong = (
            network.decode(network.encode(square, torch.tensor([ratio])), asked) for ratio in (WIDTH / HEIGHT, 1.0)
        )
    found = video.query(*queries).points
    np.testing.assert_allclose(found, right.points[0].numpy(), atol=1e-5)
    assert np.abs(found - wrong.points[0].numpy()).max() > 1e-4


def test_squashing_keeps_edges_in_place() -> None:
    """What is at (u, v) stays at (u, v), also when the picture shrinks a lot: no aliasing."""
    ramp = np.broadcast_to(np.linspace(0, 255, 640)[:, None], (320, 640, 3)).astype(np.uint8)
    small = squash(ramp[None], (32, 32))[0]
    expected = (np.arange(32) + 0.5) / 32 * 255
    assert np.abs(small[16, :, 0] - expected).max() < 2
    stripes = np.zeros((1, 64, 640, 3), np.uint8)
    stripes[:, :, ::2] = 255
    assert np.abs(squash(stripes, (32, 32)).astype(int) - 127).max() <= 2


def test_patches_from_the_original_frames(model: Reconstructor, frames: np.ndarray) -> None:
    fine = encode(model, frames, patches="original")
    assert fine.memory.pixels.shape == (1, FRAMES, HEIGHT, WIDTH, 3)
    assert torch.equal(fine.memory.tokens, encode(model, frames).memory.tokens)
    queries = random_queries(10)
    assert np.abs(fine.query(*queries).points - encode(model, frames).query(*queries).points).max() > 1e-4


def test_odd_lengths_and_single_frames(model: Reconstructor, frames: np.ndarray) -> None:
    """The last frame of an odd clip is encoded too: changing it changes the answers."""
    changed = frames.copy()
    changed[-1] = 255 - changed[-1]
    first, second = (encode(model, array).query(0.5, 0.5, 0, FRAMES - 1, FRAMES - 1) for array in (frames, changed))
    assert np.abs(first.points - second.points).max() > 1e-5
    one = encode(model, frames[:1])
    assert one.frame_count == 1
    scene = one.scene(VideoSceneOptions(cameras=FEW, tracks="grid:2"), size=(6, 8))
    assert scene.views[0].pose_status == "estimated" and not scene.views[0].dynamic.any()  # type: ignore[union-attr]
    np.testing.assert_array_equal(scene.views[0].camera.world_from_cam, np.eye(4))


def test_video_files_keep_their_times_and_stand_upright(model: Reconstructor, tmp_path: Path) -> None:
    stamps = [0, 10, 20, 100, 180, 400]
    path = write(tmp_path / "a.mp4", stamps)
    video = encode(model, path)
    assert video.seconds is not None
    np.testing.assert_allclose(video.seconds, np.array(stamps) / 1000, atol=2e-3)
    scene = video.scene(VideoSceneOptions(cameras=FEW, tracks=None, dynamic=False), size=(6, 8))
    np.testing.assert_allclose([view.timestamp for view in scene.views], np.array(stamps) / 1000, atol=2e-3)
    assert scene.views[2].source == str(path) and scene.views[2].name == "frame_000002"
    pictures = sorted((scene.export(tmp_path / "out", ["colmap"])["colmap"] / "images").iterdir())
    assert [Image.open(picture).size for picture in pictures] == [(64, 48)] * 6  # the frames at full size
    set_matrix(path, *ORIENTATIONS[6])
    assert encode(model, path).original_size == (64, 48)
    wide = encode(model, write(tmp_path / "b.mp4", EVEN[:3], aspect=2))
    assert wide.pixel_aspect == pytest.approx(2)
    lens = wide.intrinsics().focal
    np.testing.assert_allclose(lens[:, 0] * 2, lens[:, 1])


def test_frames_of_a_long_video(model: Reconstructor, tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", EVEN[:30])
    assert encode(model, path, max_frames=4).seconds == pytest.approx(np.arange(4) / 30, abs=2e-3)
    spread = encode(model, path, max_frames=4, spread=True)
    assert spread.seconds == pytest.approx(np.array([0, 10, 19, 29]) / 30, abs=4e-3)
    assert encode(model, path, fps=6).frame_count == 6
    with pytest.raises(InputError, match="has 30 frames, the network takes 6"):
        model.encode(path, intrinsics=np.eye(3))
    from worldline.pipeline.video.windows import LongVideo

    assert isinstance(model.encode(path), LongVideo)


@pytest.mark.parametrize(
    ("array", "message"),
    [(np.full((2, 8, 8, 3), 1.5), "no colours"), (np.full((2, 8, 8, 3), 3, np.int64), "no colours"),
     (np.zeros((2, 3, 8, 8), np.uint8), "channels first"), (np.zeros((0, 8, 8, 3), np.uint8), "empty")],
)  # fmt: skip
def test_arrays_that_are_no_video(array: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_footage(array)


def test_arrays_of_fractions_and_tensors(frames: np.ndarray) -> None:
    for source in (frames / 255, torch.from_numpy(frames)):
        assert np.abs(np.stack(list(open_footage(source).frames())).astype(int) - frames).max() <= 0
    assert open_footage(frames, fps=10).seconds == pytest.approx(np.arange(FRAMES) / 10)
    assert open_footage(frames).seconds is None


def test_known_cameras_are_used(model: Reconstructor, frames: np.ndarray) -> None:
    known = np.array([[50.0, 0, 19.5], [0, 50, 14.5], [0, 0, 1]])
    poses = np.broadcast_to(np.eye(4), (FRAMES, 4, 4)).copy()
    poses[:, 0, 3] = np.arange(FRAMES)
    video = encode(model, frames, intrinsics=known, poses=poses)
    cameras = video.cameras(FEW)
    np.testing.assert_array_equal(cameras.intrinsics[3], known)
    np.testing.assert_array_equal(cameras.world_from_cam, poses)
    plain = encode(model, frames)
    ratio = plain.intrinsics().matrices[0, 0, 0] / 50
    told, untold = (each.tracks("grid:2") for each in (video, plain))
    np.testing.assert_allclose(told.points[..., 0], untold.points[..., 0] * ratio, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(told.points[..., 2], untold.points[..., 2])
    assert len(video.point_cloud(size=(4, 4), confidence_percent=0, edges=0, visible_only=False)) > 0
    with pytest.raises(InputError, match=r"shape \(2, 3, 3\)"):
        model.encode(frames, intrinsics=np.stack([known, known]))


@pytest.mark.parametrize("frame", ["camera", "world"])
def test_projected_tracks_fit_known_intrinsics(video: EncodedVideo, frame: Literal["camera", "world"]) -> None:
    known = np.tile([[50.0, 0, 17.5], [0, 60, 16.5], [0, 0, 1]], (FRAMES, 1, 1))
    known[:, 0, 0] += np.arange(FRAMES)
    told = replace(video, known_intrinsics=known)
    own = told.tracks("grid:6", pixels="project")
    front = own.points[..., 2] > 0.01
    image = np.einsum("tij,ntj->nti", known, own.points.astype(np.float64))
    assert front.any() and np.abs(image[..., :2] / image[..., 2:] - own.pixels)[front].max() < 0.01
    found = told.tracks("grid:6", frame=frame, pixels="project", reference=2)
    np.testing.assert_array_equal(found.pixels, own.pixels)  # whatever frame the points are in


@pytest.mark.parametrize("camera", [None, 2])
def test_known_intrinsics_move_all_tracks_too(video: EncodedVideo, camera: int | None) -> None:
    known = np.tile([[50.0, 0, 17.5], [0, 60, 16.5], [0, 0, 1]], (FRAMES, 1, 1))
    known[:, 0, 0] += np.arange(FRAMES)
    predicted = video.intrinsics().matrices
    told, untold = (
        each.all_tracks(cell=10.0, camera=camera) for each in (replace(video, known_intrinsics=known), video)
    )
    for k in range(FRAMES):
        row = k if camera is None else camera
        expected = untold.points[:, k] @ (np.linalg.inv(known[row]) @ predicted[row]).T
        np.testing.assert_allclose(told.points[:, k], expected, rtol=1e-4, atol=1e-4)
    assert np.abs(told.points - untold.points).max() > 0.01
    np.testing.assert_array_equal(told.pixels, untold.pixels)
    assert told.saving == untold.saving
    few = replace(video, known_intrinsics=known).tracks(
        told.queries[:3], frame="camera" if camera is None else "world", reference=camera or 0
    )
    np.testing.assert_allclose(few.points, told.points[:3], rtol=1e-4, atol=1e-4)


def test_other_models_answer_no_queries(frames: np.ndarray) -> None:
    with pytest.raises(InputError, match="answers no queries"):
        Reconstructor(torch.nn.Identity(), name="other", device="cpu").encode(frames)


def test_memory_plan() -> None:
    small = plan_video(CONFIG, 6, limit=1 << 30)
    assert small.chunk == 2048 and 0 < small.memory_bytes < small.encode_bytes < 1 << 27
    big = D4rtConfig.published("g")
    giant = plan_video(big, 48, limit=64 << 30, device="cuda")
    assert giant.memory_bytes > 48 * 6144 * 1280 / 48 * 4 * 16 and giant.chunk > 10_000
    assert plan_video(big, 48, limit=3 << 30, device="cuda").chunk < giant.chunk
    with pytest.raises(MemoryPlanError, match="48 frames of 256x256"):
        plan_video(big, 48, limit=1 << 30)
    assert plan_video(CONFIG, 6, limit=1 << 30, chunk=7).chunk == 7


REFUSALS = [
    torch.OutOfMemoryError(), MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried"),
]  # fmt: skip


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda error: type(error).__name__)
def test_out_of_memory_leads_to_smaller_portions(
    video: EncodedVideo, caplog: pytest.LogCaptureFixture, refusal: Exception
) -> None:
    class Narrow(torch.nn.Module):
        config = CONFIG
        most = 100

        def encode(self, frames, ratio):
            raise refusal

        def decode(self, memory, queries, *, checked=False):
            if queries.u.shape[1] > self.most:
                raise refusal
            return video.network.decode(memory, queries, checked=checked)

    queries = random_queries(300)
    narrow = replace(video, network=Narrow())  # type: ignore[arg-type]
    np.testing.assert_allclose(narrow.query(*queries).points, video.query(*queries).points, atol=1e-5)
    assert "out of memory" in caplog.text
    narrow.network.most = 0  # type: ignore[assignment]
    with pytest.raises(MemoryPlanError, match=r"Out of memory with 64 queries at a time\."):
        narrow.query(*queries)
    with pytest.raises(MemoryPlanError, match=r"Out of memory while encoding 3 frames\."):
        _encoded(narrow.network, np.zeros((3, 8, 8, 3), np.uint8), 1.0, None, torch.device("cpu"))


def test_other_errors_of_a_network_are_not_taken_for_memory() -> None:
    with pytest.raises(RuntimeError, match="shapes"), memory_errors():
        raise RuntimeError("shapes cannot be multiplied")


def test_the_page_about_videos_says_what_works(
    model: Reconstructor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import worldline

    page = Path(__file__).resolve().parents[2] / "docs" / "video.md"
    body = page.read_text(encoding="utf-8").split("```py")[1].split("\n", 1)[1].split("```")[0]
    wider = D4rt(replace(CONFIG, clip_frames=8)).eval()
    monkeypatch.setattr(worldline, "load", lambda name: Reconstructor(wider, name=name, device="cpu"), raising=False)
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "walk.mp4", EVEN[:10])
    exec(compile(body, str(page), "exec"), {})
    assert (tmp_path / "out" / "scene.glb").exists()


def test_the_command_line_reconstructs_a_video(
    model: Reconstructor, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder, path = tmp_path / "tiny", write(tmp_path / "a.mp4", EVEN[:20])
    weights.save_model(model.network, folder, card={"name": "tiny", "license": "Apache-2.0", "image_size": 32})
    out = ["-o", str(tmp_path / "out"), "--to", "tum", "--size", "16", "--max-views", "4", "--device", "cpu"]
    assert main(["reconstruct", str(path), "--model", str(folder), *out]) == 0
    scene = Scene.load(tmp_path / "out")
    assert [view.name[-2:] for view in scene.views] == ["00", "06", "13", "19"] and scene.tracks is not None
    assert scene.views[0].image.shape == (12, 16, 3) and (tmp_path / "out" / "trajectory.txt").exists()
    assert main(["reconstruct", str(path), "--model", str(folder), *out[:-4], "--max-views", "0"]) == 2
    assert "A video of 0 frames shows nothing." in capsys.readouterr().err
