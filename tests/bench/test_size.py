"""Parameters and multiply-adds of every network at paper size, against the known ones."""

import csv
from functools import partial
from pathlib import Path

import pytest
from conftest import Command
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor, nn

from amir_lightning.bench.size import network_size
from amir_lightning.config import CONF_DIR
from amir_lightning.engines import openvino
from amir_lightning.networks import RestorationNetwork

Blocks = list[tuple[int, int, int, int]]
"""Channel attentions of one kind: how many, channels, heads, pixels."""


def restormer_like(width: int, depths: list[int], refinement: int) -> Blocks:
    """The blocks of Restormer's layout on 128x128 pixels; encoder and decoder have the same."""
    return [
        (depths[0], width, 1, 128**2),
        (2 * depths[1], 2 * width, 2, 64**2),
        (2 * depths[2], 4 * width, 4, 32**2),
        (depths[3], 8 * width, 8, 16**2),
        (depths[0] + refinement, 2 * width, 1, 128**2),
    ]


def folding(blocks: Blocks) -> float:
    """What channel attention costs here beyond its plain formula, in 10^9 multiply-adds.

    Plain: q k^T and its product with v per head, then the projection. Here: q k^T over all heads,
    the small product of attention and projection, and that with v.
    """
    change = 0.0
    for count, channels, heads, pixels in blocks:
        plain = 2 * pixels * channels**2 / heads + pixels * channels**2
        here = 2 * pixels * channels**2 + channels**3 / heads
        change += count * (here - plain)
    return change / 1e9


RESTORMER = folding(restormer_like(48, [4, 6, 6, 8], 4))
AMIR = folding(restormer_like(42, [5, 7, 7, 9], 4))
SPACH = folding(restormer_like(16, [4, 6, 6, 8], 3))
PROMPTS = folding([(1, 704, 4, 16**2), (1, 320, 4, 32**2), (1, 160, 4, 64**2)])
# Restore-RWKV mixes pixels twice a block in chunks of 16: a matrix of 16 rows and 18 columns for
# weighted values and weights, and two sums of each chunk, per channel and pixel.
MIXING = (
    sum(
        2 * (2 * (16 + 2) + 4) * count * channels * pixels
        for count, channels, _, pixels in restormer_like(48, [4, 6, 6, 8], 4)
    )
    / 1e9
)
DENSE = 0.914  # all four experts of AMIR instead of the chosen two

# Parameters; multiply-adds of one 1x1x128x128 forward pass in 10^9, of the published layout plus
# what is computed here in another way.
KNOWN = {
    "srcnn": (57_281, 0.9369),
    "vdsr": (665_921, 10.8905),
    "swinir": (11_497_681, 199.968),
    "swinir_light": (903_121, 17.016),
    "restormer": (26_124_052, 38.678 + RESTORMER),
    "chen_cnn": (24_513, 0.4000),
    "redcnn": (1_848_865, 24.0649),
    "eformer": (1_137_333, 4.4024),
    "ctformer": (1_382_413, 21.173),
    "xiang": (226_371, 3.699),
    "dcnn": (223_169, 3.643),
    "argan": (45_253_058, 7.472),
    "spach": (3_802_739, 3.562 + SPACH),
    "drmc": (623_637, 10.003),
    "airnet": (7_606_791, 102.94 + 0.62),  # restorer and the part of the encoder that it needs
    "amir": (23_540_498, 34.816 + DENSE + AMIR),
    "amir_literal": (23_530_622, 34.816 + DENSE + AMIR),
    "amir_no_dictionary": (23_539_698, 34.816 + DENSE + AMIR),
    "amir_contrastive": (23_539_698, 34.816 + DENSE + AMIR),
    "amir_no_srm": (22_669_364, 33.887 + AMIR),
    "amir_no_crm": (23_366_450, 34.816 + DENSE + AMIR),
    "tat": (41_687_424, 42.744 + RESTORMER),
    "restore_rwkv": (27_996_737, 37.270 + MIXING),
    "promptir": (35_374_375, 43.134 + RESTORMER + PROMPTS),
}


class Known(RestorationNetwork):
    """10 x 9 products per pixel from the convolution, 10 x 10 per image from the matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 10, 3, padding=1)
        self.linear = nn.Linear(10, 10)
        self.frozen = nn.Parameter(self.linear.weight.detach(), requires_grad=False)

    def restore(self, lq: Tensor) -> Tensor:
        return lq + self.linear(self.conv(lq).mean(dim=(-2, -1))).mean()


def test_products_are_counted_by_hand() -> None:
    size = network_size(Known, 1, 20, 30)
    assert size.parameters == 10 * 9 + 10 + 10 * 10 + 10
    assert size.gmacs == pytest.approx((20 * 30 * 90 + 100) / 1e9)


@pytest.mark.slow
def test_every_network_has_the_known_size(command: Command) -> None:
    listed = [name for name in KNOWN if name != "restore_rwkv"]
    done = command("compare", "measure=size", f"networks=[{','.join(listed)}]")
    assert done.status == 0, done.err
    header, *lines = done.out.splitlines()
    assert header == "network,parameters,gmacs_128"
    found = {}
    for line in lines:
        name, parameters, gmacs = line.split(",")
        found[name] = (int(parameters), float(gmacs))
    # A loop over chunks of pixels takes a minute at 128x128; all its work grows with the pixels.
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        cfg = compose("train", ["network=restore_rwkv", "scale=paper"])
    options = OmegaConf.to_container(cfg.network, resolve=True)
    assert isinstance(options, dict)
    assert options.pop("pretrained") is None
    quarter = network_size(partial(instantiate, options), 1, 64, 64)
    found["restore_rwkv"] = (quarter.parameters, 4 * quarter.gmacs)
    assert {name: counts[0] for name, counts in found.items()} == {
        name: counts[0] for name, counts in KNOWN.items()
    }
    off = {name: found[name][1] / known[1] - 1 for name, known in KNOWN.items()}
    assert not {name: share for name, share in off.items() if abs(share) > 0.005}


def test_the_comparison_times_slices_and_writes_a_table(command: Command) -> None:
    options = ["at_scale=demo", "networks=[srcnn,restormer]", "rounds=1", "seconds=0.01"]
    done = command("compare", *options, "sizes=[[64,48],[32,32]]", "output=cost")
    assert done.status == 0, done.err
    text = Path("cost/methods.csv").read_text()
    header, *lines = (line.split(",") for line in text.splitlines())
    assert header[3:] == [
        "seconds_64x48",
        "memory_mib_64x48",
        "seconds_32x32",
        "memory_mib_32x32",
    ]
    assert [line[0] for line in lines] == ["srcnn", "restormer"]
    assert all(float(value) > 0 for line in lines for value in (line[3], line[5]))
    table = Path("cost/methods.md").read_text()
    assert "| restormer |" in table
    assert "scale demo" in table


@pytest.mark.skipif(
    not openvino.installed(), reason="OpenVINO is not installed; make setup installs it"
)
def test_engines_are_compared(command: Command) -> None:
    options = ["at_scale=demo", "networks=[srcnn]", "rounds=1", "seconds=0.01", "sizes=[[32,32]]"]
    done = command("compare", *options, "engines=[torch,openvino,openvino_bf16]", "output=cost")
    assert done.status == 0, done.err
    (row,) = csv.DictReader(Path("cost/methods.csv").read_text().splitlines())
    assert {"seconds_32x32", "openvino_seconds_32x32", "openvino_bf16_seconds_32x32"} <= set(row)
    assert float(row["openvino_difference"]) < 1e-5 < float(row["openvino_bf16_difference"]) < 0.1
    assert "OpenVINO bf16: s, 32x32" in Path("cost/methods.md").read_text()


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("networks=[unet]", "unknown network 'unet'; choose from"),
        ("measure=speed", "choose from all, difference, size"),
        ("engines=[onnx]", "choose from torch, openvino, openvino_bf16"),
        ("rounds=0", "type rounds=3"),
        ("seconds=0.0", "type seconds=1"),
        ("output=/proc/x", "/proc/x cannot be made"),
        ("sizes=[[64]]", "expected a list"),
    ],
)
def test_a_mistake_is_one_sentence(command: Command, option: str, text: str) -> None:
    done = command("compare", option)
    assert done.status == 2
    assert text in done.err
