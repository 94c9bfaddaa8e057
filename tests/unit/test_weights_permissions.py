"""Files of weights are as readable as any other file of their writer."""

from worldline.models.config import MVDust3rConfig
from worldline.models.mvdust3r import MVDust3r
from worldline.weights.storage import save_model


def test_saved_weights_have_the_permissions_of_new_files(tmp_path):
    sizes = {"encoder_dim": 32, "encoder_depth": 1, "encoder_heads": 2, "decoder_dim": 32, "decoder_depth": 1}
    model = MVDust3r(MVDust3rConfig(**sizes, decoder_heads=2, gaussian_dim=8, image_skip=False))
    usual = tmp_path / "usual"
    usual.touch()
    for shards in (None, 20_000):
        folder = save_model(model, tmp_path / f"model{shards}", card={"name": "x", "license": "x"}, shard_bytes=shards)
        modes = {path.stat().st_mode for path in folder.iterdir()}
        assert modes == {usual.stat().st_mode}
