"""The table of models agrees with the networks and with the published figures."""

import json
import subprocess
import sys

import pytest

from worldline import weights
from worldline.errors import WeightsError
from worldline.weights import registry

MASK_TOKEN = 768  # left over in every published file, kept by none of our networks
DPT_UNUSED = 2 * 2 * (256 * 256 * 9 + 256)  # per head one residual unit of two convolutions that no output depends on
PUBLISHED = {
    "dust3r-224-linear": 532_342_784,
    "dust3r-512-linear": 532_342_784,
    "dust3r-512-dpt": 571_171_208,
    "mvdust3r": 547_989_522,
    "mvdust3r-plus-s1": 661_429_266,
    "mvdust3r-plus": 661_429_266,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameter_counts_are_those_of_the_networks_and_of_the_published_files(name: str) -> None:
    model = registry.MODELS[name]
    unused = MASK_TOKEN + (DPT_UNUSED if name.endswith("dpt") else 0)
    assert weights.count_parameters(model.family, model.config) == model.parameters
    assert model.published_parameters == PUBLISHED[name] == model.parameters + unused


def test_the_embedded_model_is_described_before_and_after_it_is_there() -> None:
    entry = weights.MODELS["mvdust3r-plus-mini"]
    assert entry.embedded and entry.is_permissive
    assert weights.count_parameters(entry.family, entry.config) == entry.parameters
    info = weights.info("mvdust3r-plus-mini")
    assert info.license.startswith("Apache-2.0") and 5e6 < info.parameters < 15e6
    if weights.is_available("mvdust3r-plus-mini"):
        assert weights.verify("mvdust3r-plus-mini").parameters == info.parameters
    else:
        with pytest.raises(WeightsError, match="this installation does not have them"):
            weights.resolve("mvdust3r-plus-mini")


def test_every_published_model_says_whose_terms_it_has() -> None:
    for model in weights.MODELS.values():
        assert model.id == model.id.lower() and model.license and model.domain and model.citation
        if model.source:
            assert "non-commercial" in model.license and not model.is_permissive
            assert "data sets" in model.license
            assert model.license in model.notice


@pytest.mark.parametrize(
    ("typo", "meant"), [("mvdust3r-plus-min", "mvdust3r-plus-mini"), ("DUST3R-512-DTP", "dust3r-512-dpt")]
)
def test_an_unknown_name_is_answered_with_the_nearest_ones(typo: str, meant: str) -> None:
    with pytest.raises(WeightsError) as caught:
        weights.resolve(typo)
    assert meant in caught.value.remedy and "worldline models list" in caught.value.remedy


def test_looking_things_up_does_not_import_torch() -> None:
    code = (
        "import sys, json; from worldline import weights;"
        "names = [weights.info(name).id for name in weights.MODELS];"
        "print(json.dumps([len(names), 'torch' in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [len(weights.MODELS), False]
