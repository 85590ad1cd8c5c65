"""The benchmark command at tiny sizes: what it writes, and the arithmetic behind it. No timing."""

import csv
import json
from pathlib import Path

import pytest
import torch
from conftest import Command

from amir_lightning.bench import variants
from amir_lightning.bench.cost import Case, Cost, Recipe, configured, cost
from amir_lightning.bench.machine import Peaks, share_of_peak
from amir_lightning.bench.released import relative_difference
from amir_lightning.bench.report import markdown, ratios
from amir_lightning.bench.variants import Variant, as_row
from amir_lightning.system.allocator import keep_memory

TINY = [
    "networks=[amir]",
    "scales=[demo]",
    "precisions=[float32]",
    "inference=[[1,16,24]]",
    "training=[[2,16,16]]",
    "rounds=1",
    "seconds=0.001",
    "matrix_side=32",
    "accelerator=cpu",
    "tasks.mri.phantom.size=64",
    "tasks.mri.phantom_slices=2",
    "loading.patients=1",
    "loading.patch_size=32",
    "loading.patches=2",
]

# A checkout whose network is ours under the official names of its parameters.
CHECKOUT = """
import torch
from torch import nn
from torch.func import functional_call

from amir_lightning import networks
from amir_lightning.networks.checkpoints import official


class AMIR(nn.Module):
    def __init__(self):
        super().__init__()
        ours = networks.AMIR(width=8, depths=(1, 1, 1, 1), refinement_depth=1)
        self.template = [ours]  # hidden, so that its parameters are not ours
        for name, value in official.export_state(ours.state_dict()).items():
            module, (*path, leaf) = self, name.split(".")
            for part in path:
                if part not in module._modules:
                    module.add_module(part, nn.Module())
                module = module._modules[part]
            module.register_parameter(leaf, nn.Parameter(value))

    def forward(self, lq):
        state = official.translate(dict(self.named_parameters()), self.template[0].state_dict())
        network = self.template[0].train(self.training)
        image = functional_call(network, state, (lq,))
        return (image, image.mean()) if self.training else image
"""

TAT_CHECKOUT = """
import torch
from torch import nn
from torch.func import functional_call

from amir_lightning import networks
from amir_lightning.networks.checkpoints import names, successors


class TAT(nn.Module):
    def __init__(self):
        super().__init__()
        ours = networks.TAT(width=8, depths=(1, 1, 1, 1), refinement_depth=1)
        self.template = [ours]
        self.names = names.renamed(ours.state_dict(), names.TAT)
        for name, value in ours.state_dict().items():
            module, (*path, leaf) = self, self.names[name].split(".")
            for part in path:
                if part not in module._modules:
                    module.add_module(part, nn.Module())
                module = module._modules[part]
            module.register_parameter(leaf, nn.Parameter(value))

    def forward(self, lq):
        own = dict(self.named_parameters())
        state = {ours: own[theirs] for ours, theirs in self.names.items()}
        return functional_call(self.template[0].train(self.training), state, (lq,))
"""


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure in this process, which saves seconds per measurement and leaves the allocator."""
    monkeypatch.setenv("AMIR_LIGHTNING_ALLOCATOR", "0")
    monkeypatch.setattr(variants, "apart", lambda function, *args: function(*args))
    monkeypatch.setattr(
        "amir_lightning.bench.process.apart", lambda function, *args: function(*args)
    )


def test_tables_and_data_agree(command: Command, here: None) -> None:
    done = command("bench", *TINY, "output=out")
    assert done.status == 0, done.err
    found = json.loads(Path("out/bench.json").read_text())
    assert min(found["peaks"].values()) > 0
    inference, training = found["table"]
    assert [inference["what"], training["what"]] == ["inference", "training"]
    assert (inference["size"], inference["batch"], training["batch"]) == ("16x24", 1, 2)
    for row, passes in ((inference, 1), (training, 3)):
        assert row["slices_per_second"] * row["seconds"] == pytest.approx(row["batch"])
        gflops = 2 * row["gmacs"] * passes / row["seconds"]
        assert row["share_of_peak"] * found["peaks"]["float32"] == pytest.approx(gflops)
    loading = found["loading"]
    assert loading["slice_size"] == "64x64"
    assert loading["faster"] == pytest.approx(loading["pickles_ms"] / loading["store_ms"])
    page = Path("out/bench.md").read_text()
    assert page.count("| amir | demo |") == 2
    assert page in done.out


@pytest.mark.slow
def test_curves_vary_one_value(command: Command, here: None) -> None:
    tiny = ["curves.at_scale=demo", "curves.patch_size=16", "curves.pixels=[16,17,18,19,20]"]
    tiny += ["curves.batches=[1,2,1,1,1]", "curves.experts=[2,3,4,5]"]
    for task in ("ct", "pet"):
        tiny += [f"tasks.{task}.phantom.size=48", f"tasks.{task}.phantom_slices=2"]
    options = [*TINY, *tiny, "tasks.pet.phantom.num_slices=100", "table=false", "scaling=true"]
    done = command("bench", *options, "output=out")
    assert done.status == 0, done.err
    with Path("out/scaling.csv").open() as file:
        rows = list(csv.DictReader(file))
    values = {
        name: [int(r["value"]) for r in rows if r["curve"] == name]
        for name in ("pixels", "batch", "experts", "tasks")
    }
    assert values["pixels"] == [16, 17, 18, 19, 20]
    assert values["batch"] == [1, 2, 1, 1, 1]
    assert values["experts"] == [2, 3, 4, 5]
    assert values["tasks"] == [1, 2, 4, 8]
    experts = [float(row["gmacs"]) for row in rows if row["curve"] == "experts"]
    assert experts == sorted(set(experts))  # each expert costs multiply-adds


def test_the_release_is_compared_with_its_weights(command: Command, here: None) -> None:
    Path("checkout/model").mkdir(parents=True)
    Path("checkout/model/Model_AMIR.py").write_text(CHECKOUT)
    sizes = ["released_inference=[[1,16,16]]", "released_training=[[2,16,16]]", "released_side=16"]
    done = command("bench", *TINY, *sizes, "table=false", "released=checkout", "output=out")
    assert done.status == 0, done.err
    found = json.loads(Path("out/bench.json").read_text())
    assert found["differences"]["float32"] == pytest.approx({"output": 0, "gradient": 0}, abs=1e-6)
    assert 1e-6 < found["differences"]["bf16"]["gradient"] < 1
    assert [row["scale"] for row in found["released"]] == ["released", "ours", "ours"] * 2
    assert [row["precision"] for row in found["ratios"]] == ["float32", "bf16"] * 2
    assert "same weights" in Path("out/bench.md").read_text()


def test_the_released_tat_is_compared_with_ours(command: Command, here: None) -> None:
    Path("checkout/model").mkdir(parents=True)
    Path("checkout/model/TAT.py").write_text(TAT_CHECKOUT)
    sizes = ["released_inference=[[1,16,16]]", "released_training=[[2,16,16]]", "released_side=16"]
    options = [*TINY, *sizes, "table=false", "released=checkout", "output=out"]
    assert "has no model/Model_AMIR.py" in command("bench", *options).err
    assert "choose from amir, tat" in command("bench", *options, "released_network=swin").err
    done = command("bench", *options, "released_network=tat")
    assert done.status == 0, done.err
    found = json.loads(Path("out/bench.json").read_text())
    assert found["differences"]["float32"] == pytest.approx({"output": 0, "gradient": 0}, abs=1e-6)
    assert {row["network"] for row in found["released"]} == {"tat"}


@pytest.mark.slow
def test_measurements_run_in_processes_of_their_own(command: Command) -> None:
    done = command("bench", *TINY)
    assert done.status == 0, done.err
    assert "| training | amir | demo | 16x16 | 2 | float32 |" in done.out
    assert not list(Path().glob("**/bench.json"))


def test_share_of_the_peak() -> None:
    """10^9 multiply-adds in 0.1 s are 20 GFLOP/s, a fifth of 100; a training step is three."""
    assert share_of_peak(1.0, 1, 0.1, 100.0) == pytest.approx(0.2)
    assert share_of_peak(1.0, 3, 0.1, 100.0) == pytest.approx(0.6)


def test_a_row_takes_medians_over_all_rounds() -> None:
    case = Case("training", 4, 16, 16, "bf16")
    one = Variant("table", "amir", "demo", case, lambda: torch.nn.Identity, gmacs=0.5)
    costs = [Cost((1.0, 2.0), 10.0), Cost((3.0, 4.0, 5.0), 30.0)]
    row = as_row(one, costs, Peaks(float32=1.0, bf16=40.0, copy=1.0))
    assert row["seconds"] == 3.0
    assert row["passes"] == 5
    assert row["peak_memory_mib"] == 20.0
    assert row["slices_per_second"] == pytest.approx(4 / 3)
    assert row["share_of_peak"] == pytest.approx(2 * 0.5 * 4 * 3 / 3.0 / 40.0)


def test_ratios_pair_equal_cases() -> None:
    same = {"what": "inference", "size": "8x8", "batch": 1, "precision": "float32"}
    rows = [
        {**same, "scale": "released", "seconds": 6.0, "peak_memory_mib": 100.0},
        {**same, "scale": "ours", "seconds": 2.0, "peak_memory_mib": 25.0},
        {**same, "scale": "ours", "batch": 2, "seconds": 1.0, "peak_memory_mib": 1.0},
    ]
    assert ratios(rows) == [{**same, "faster": 3.0, "memory": 0.25}]
    rows[0]["peak_memory_mib"] = 0.0  # too small a network to be seen
    (found,) = ratios(rows)
    assert found["memory"] is None
    assert markdown([found]).splitlines()[-1].endswith("| 3 | - |")


def test_markdown_shows_three_digits() -> None:
    text = markdown([{"what": "x", "share_of_peak": 0.1234, "seconds": 0.012345, "passes": 3}])
    assert text.splitlines()[-1] == "| x | 12.3 % | 0.0123 |"
    assert "passes" not in text


def test_relative_difference_weighs_all_tensors_together() -> None:
    expected = {"a": torch.tensor([3.0]), "b": torch.tensor([4.0])}
    found = {"a": torch.tensor([3.0]), "b": torch.tensor([4.5])}
    assert relative_difference(found, expected) == pytest.approx(0.1)
    with pytest.raises(ValueError, match="unmatched"):
        relative_difference({"a": torch.zeros(1)}, expected)


def test_a_training_pass_takes_adams_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """The measured network moves by about the learning rate in its first step."""
    built = []
    node = {"_target_": "amir_lightning.networks.SRCNN", "in_channels": 1}

    def opened():
        def build():
            built.append(configured(node)())
            built.append({name: one.detach().clone() for name, one in built[0].named_parameters()})
            return built[0]

        return build

    recipe = Recipe({"balance_weight": 0.001}, 0.01, (0.9, 0.999), 1e-9, "cpu")
    result = cost(opened, Case("training", 1, 32, 32, "float32"), recipe, tuned=False)
    assert len(result.seconds) == 1
    moved = max(
        float((one.detach() - built[1][name]).abs().max())
        for name, one in built[0].named_parameters()
    )
    assert 0.01 < moved <= 0.0201  # the warm-up and one timed step


def test_memory_is_kept_only_if_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMIR_LIGHTNING_ALLOCATOR", "0")
    assert not keep_memory()
    monkeypatch.delenv("AMIR_LIGHTNING_ALLOCATOR")
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    assert not keep_memory()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["released=nowhere"], "has no model/Model_AMIR.py; give the folder of a checkout"),
        (["table=false"], "leaves nothing to measure"),
        (["table=false", "training=[]"], "leaves nothing to measure"),
        (["precisions=[fp16]"], "precisions has 'fp16'; choose from float32, bf16"),
        (["scales=[big]"], "scales has 'big'; choose from demo, paper"),
        (["inference=[[128,128]]"], "type for instance inference=[[1,128,128]]"),
        (["training=[[0,128,128]]"], "type for instance training=[[1,128,128]]"),
        (["networks=[unet]"], "unknown network 'unet'"),
        (["loading.task=xray"], "loading.task is 'xray'; choose from"),
        (["rounds=0"], "type rounds=1"),
        (["seconds=0"], "type seconds=1"),
    ],
)
def test_a_mistake_is_one_sentence(command: Command, options: list[str], text: str) -> None:
    done = command("bench", *TINY, *options, "output=out")
    assert done.status == 2
    assert text in done.err
    assert "Traceback" not in done.err
    assert not list(Path().glob("out/*"))
