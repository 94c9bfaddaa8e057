"""The published motion score of Driv3R: every stage equal to the released code (oracle ``flow``, batch item 0)."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from worldline.scene.motion import camera_flow
from worldline.scene.motion.published import (
    FRAMES,
    PAIRS,
    PublishedMotion,
    pnp_poses,
    published_camera_flow,
    published_motion,
)

VECTORS = load_file(Path(__file__).parent / "data" / "driv3r" / "flow.safetensors")


def published(official: bool = True) -> PublishedMotion:
    return published_motion(
        [VECTORS[f"motion.pts3d.{t}"] for t in range(FRAMES)],
        [VECTORS[f"motion.optical_flow_fwd.{p}"] for p in range(len(PAIRS))],
        [VECTORS[f"motion.optical_flow_bwd.{p}"] for p in range(len(PAIRS))],
        official=official,
        cam_from_world=VECTORS["motion.pnp_world_to_camera"],
    )


def test_camera_flow_alone() -> None:
    names = ("depth1", "intrinsics1", "extrinsics1", "intrinsics2", "extrinsics2")
    flow = published_camera_flow(*(VECTORS[f"ego.{name}"] for name in names))
    torch.testing.assert_close(flow, VECTORS["ego.flow"], rtol=1e-5, atol=1e-4)


def test_published_formula_is_right_for_poses_the_other_way_round() -> None:
    # its matrices are right as camera-to-world: then it agrees with the exact flow up to its epsilon
    k1, k2 = (VECTORS[f"ego.intrinsics{i}"][..., :3, :3] for i in (1, 2))
    poses = [torch.linalg.inv(VECTORS[f"ego.extrinsics{i}"].double()) for i in (1, 2)]
    exact = camera_flow(VECTORS["ego.depth1"], k1, poses[0], k2, poses[1])
    expected = VECTORS["ego.flow"].movedim(-3, -1)
    torch.testing.assert_close(exact.flow[exact.valid], expected[exact.valid], rtol=1e-4, atol=1e-3)
    assert exact.valid.float().mean() > 0.9


def test_every_stage() -> None:
    motion = published()
    torch.testing.assert_close(motion.focal, VECTORS["motion.focal"], rtol=1e-5, atol=0)
    first, second = zip(*PAIRS, strict=True)
    torch.testing.assert_close(
        motion.depth[list(first)].movedim(0, 1), VECTORS["motion.depth_fwd"], rtol=1e-5, atol=1e-5
    )
    torch.testing.assert_close(
        motion.depth[list(second)].movedim(0, 1), VECTORS["motion.depth_bwd"], rtol=1e-5, atol=1e-5
    )
    torch.testing.assert_close(motion.camera_flow_forward, VECTORS["motion.ego_flow_fwd"], rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(motion.camera_flow_backward, VECTORS["motion.ego_flow_bwd"], rtol=1e-5, atol=1e-4)
    for t in range(FRAMES):
        torch.testing.assert_close(motion.score[t], VECTORS[f"motion.score.{t}"], rtol=1e-5, atol=1e-5)


def test_poses_of_pnp() -> None:
    pytest.importorskip("cv2")
    poses = torch.stack([pnp_poses(VECTORS[f"motion.pts3d.{t}"], VECTORS["motion.focal"][t]) for t in range(FRAMES)])
    torch.testing.assert_close(poses, VECTORS["motion.pnp_world_to_camera"], rtol=0, atol=1e-4)


def test_the_error_of_the_poses_is_only_in_official() -> None:
    wrong, right = published(), published(official=False)
    assert torch.equal(wrong.depth[0], right.depth[0])
    t, points = 3, VECTORS["motion.pts3d.3"].double()
    own = VECTORS["motion.pnp_world_to_camera"][t]
    expected = (points @ own[:, None, :3, :3].mT + own[:, None, None, :3, 3])[..., 2]
    torch.testing.assert_close(right.depth[t].double(), expected, rtol=1e-4, atol=1e-4)
    assert (wrong.depth[t] - right.depth[t]).abs().max() > 1e-3
