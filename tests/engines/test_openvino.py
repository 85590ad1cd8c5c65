"""OpenVINO restores as torch does, keeps its programs in the user's own folder, or says why not."""

import logging
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from amir_lightning import networks
from amir_lightning.engines import openvino
from amir_lightning.engines.choice import Request, use_engine
from amir_lightning.errors import InputError
from amir_lightning.networks.layers.blocks import Stage, TransformerBlock
from amir_lightning.networks.layers.expert_options import ExpertOptions
from amir_lightning.networks.layers.image_conv import ImageConv2d
from amir_lightning.networks.layers.instruction import RoutingInstructionNetwork
from amir_lightning.networks.layers.routing import ChannelRouting, SpatialRouting

pytestmark = pytest.mark.skipif(
    not openvino.installed(), reason="OpenVINO is not installed; make setup installs it"
)

CPU = {"accelerator": "cpu", "devices": 1, "precision": "32-true"}


def small(seed: int = 0) -> networks.SRCNN:
    torch.manual_seed(seed)
    network = networks.SRCNN().eval()
    for one in network.parameters():
        torch.nn.init.normal_(one, std=0.05)
    return network


@pytest.fixture(autouse=True)
def seconds(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that torch and a program are said to take for an image, in turns."""
    taken = [3.0, 1.0]

    def timed(run: Callable[[], Tensor], _enough: float) -> tuple[Tensor, float]:
        taken.append(taken.pop(0))
        return run(), taken[-1]

    monkeypatch.setattr(openvino, "_timed", timed)
    return taken


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "home" / "programs"


def fast(network, cache: Path, precision: str = "float32", wide=(), engine: str = "openvino"):
    return use_engine(network, Request(engine, precision, wide, cache), CPU)


def no_conversion(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object) -> None:
        raise AssertionError("converted again")

    monkeypatch.setattr(openvino, "convert", refuse)


class Routed(networks.RestorationNetwork):
    """One of each module of AMIR, whose whole is traced in many times the time."""

    size_multiple = 8

    def __init__(self) -> None:
        super().__init__()
        options = ExpertOptions(4, 2, 2.66, "noisy", "topk_softmax", "logsumexp", True)
        self.instruct = RoutingInstructionNetwork(1, 4, 8, "linear", "gelu")
        self.stem = torch.nn.Conv2d(1, 8, 3, padding=1)
        self.spatial = SpatialRouting(8, 8, options)
        self.stage = Stage(1, TransformerBlock(8, 2, 2.66))
        self.channel = ChannelRouting(8, 8, "affine")
        self.head = ImageConv2d(8, 1, 3, padding=1)

    def restore(self, lq: Tensor) -> Tensor:
        instruction = self.instruct(lq).vector
        features = self.spatial(self.stem(lq), instruction).features
        return lq + self.head(self.channel(self.stage(features), instruction))


def test_modules_of_amir_restore_as_torch_does_in_float32_and_bf16(cache: Path) -> None:
    torch.manual_seed(0)
    network = Routed().eval()
    for one in network.parameters():
        if not one.any():
            torch.nn.init.normal_(one, std=0.1)
    lq = torch.rand(2, 1, 45, 62)
    with torch.inference_mode():
        expected = network(lq)
        with torch.autocast("cpu", torch.bfloat16):
            own_half = network(lq)
    errors = {}
    for precision in ("float32", "bf16"):
        label = fast(network, cache, precision).label
        assert (label.name, label.precision) == ("openvino", precision)
        with torch.inference_mode():
            found = network(lq)
            assert torch.equal(network.report(lq).image, found)
        assert found.shape == expected.shape
        errors[precision] = float((found - expected).abs().max())
    assert errors["float32"] < 1e-5 < errors["bf16"]
    assert errors["bf16"] < 2 * float((own_half - expected).abs().max())
    assert len(list(cache.iterdir())) == 2
    with network.as_written(), torch.inference_mode():
        assert torch.equal(network(lq), expected)


def test_modules_can_stay_in_float32(cache: Path) -> None:
    lq = torch.rand(1, 1, 32, 32)
    with torch.inference_mode():
        expected = small()(lq)
        errors = []
        for wide in ((), ("extract",), ("extract", "map")):
            network = small()
            fast(network, cache, "bf16", wide)
            errors.append(float((network(lq) - expected).abs().max()))
            assert "forward" not in vars(network.extract)
    assert errors[0] > errors[1] > 1e-5 > errors[2]


def test_the_program_is_compiled_once_and_read_by_the_next_command(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    lq = torch.rand(1, 1, 40, 32)
    with torch.inference_mode():
        expected = small()(lq)
        first, second = small(), small()
        fast(first, cache)
        torch.testing.assert_close(first(lq), expected, rtol=0, atol=1e-5)
        first(lq)
        assert caplog.text.count("compiling the network for slices of 40x32") == 1
        no_conversion(monkeypatch)
        fast(second, cache)
        torch.testing.assert_close(second(lq), expected, rtol=0, atol=1e-5)
        for network, precision in ((small(1), "float32"), (small(), "bf16")):
            fast(network, cache, precision)
            with pytest.raises(InputError, match="converted again"):
                network(lq)
        with pytest.raises(InputError, match="converted again"):
            second(lq[..., :24])
    assert len(list(cache.iterdir())) == 1
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700


def test_only_complete_programs_of_the_users_own_folder_are_read(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lq = torch.rand(1, 1, 32, 32)
    with torch.inference_mode():
        network = small()
        fast(network, cache)
        network(lq)
        (path,) = cache.iterdir()
        whole = path.read_bytes()

        cache.chmod(0o777)
        network = small()
        fast(network, cache)
        network(lq)
        assert "can be written by others" in caplog.text
        cache.chmod(0o700)

        path.write_bytes(whole[:-9])
        network = small()
        fast(network, cache)
        network(lq)
        assert len(path.read_bytes()) > len(whole) - 9  # written again; its length varies a little
        no_conversion(monkeypatch)
        network = small()
        fast(network, cache)
        network(lq)


@pytest.mark.skipif(os.geteuid() == 0, reason="root can write everywhere")
@pytest.mark.parametrize("mode", [0o500, 0o000])
def test_a_folder_without_access_is_said(cache: Path, caplog, mode: int) -> None:
    cache.parent.mkdir()
    cache.parent.chmod(mode)
    network = small()
    assert fast(network, cache).restores(1, 1, 32, 32).name == "openvino"
    with torch.inference_mode():
        network(torch.rand(1, 1, 32, 32))
    assert "the next command compiles it anew" in caplog.text
    cache.parent.chmod(0o700)


def test_a_place_that_is_no_folder_is_said(cache: Path, caplog) -> None:
    cache.parent.write_text("a file")
    network = small()
    fast(network, cache)
    with torch.inference_mode():
        network(torch.rand(1, 1, 32, 32))
    assert "the next command compiles it anew" in caplog.text
    assert "or type another paths.cache_dir=<folder>" in caplog.text


def test_auto_compiles_what_is_worth_it(
    cache: Path, monkeypatch: pytest.MonkeyPatch, seconds: list[float]
) -> None:
    network = small()
    engine = fast(network, cache, engine="auto")
    assert engine.restores(9, 1, 32, 40).name == "torch"
    with torch.inference_mode():
        assert torch.equal(network(torch.ones(1, 1, 32, 40)), small()(torch.ones(1, 1, 32, 40)))
    assert not cache.exists()
    assert engine.restores(1, 1, 24, 40).name == "torch"
    assert engine.restores(9, 1, 32, 40).name == "openvino"
    assert len(list(cache.iterdir())) == 1
    seconds[:] = [0.1, 0.05]
    quick = fast(small(), cache, engine="auto")
    assert quick.restores(99, 1, 48, 40).name == "torch"
    assert len(list(cache.iterdir())) == 1
    no_conversion(monkeypatch)
    assert fast(small(), cache, engine="auto").restores(1, 1, 32, 40).name == "openvino"
    seconds[:] = [3.0, 1.0]
    failing = fast(small(), cache, engine="auto")
    assert failing.restores(99, 1, 24, 40).name == "torch"
    assert failing.label.name == "torch"


def test_auto_leaves_sizes_to_torch_that_it_restores_faster(
    cache: Path, monkeypatch: pytest.MonkeyPatch, seconds: list[float]
) -> None:
    seconds[:] = [3.0, 4.0]
    network = small()
    engine = fast(network, cache, engine="auto")
    lq = torch.ones(1, 1, 32, 40)
    with torch.inference_mode():
        for _ in range(2):
            assert engine.restores(99, 1, 32, 40).name == "torch"
            assert torch.equal(network(lq), small()(lq))
    no_conversion(monkeypatch)
    assert fast(small(), cache, engine="auto").restores(99, 1, 32, 40).name == "torch"
    assert fast(small(), cache, engine="openvino").restores(1, 1, 32, 40).name == "openvino"


def test_a_program_that_restores_something_else_is_never_used(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    traced = openvino.traced_for_size
    monkeypatch.setattr(openvino, "traced_for_size", lambda _, *rest: traced(small(1), *rest))
    lq = torch.rand(1, 1, 32, 32)
    network = small()
    fast(network, cache)
    with torch.inference_mode(), pytest.raises(InputError, match="differs from it by"):
        network(lq)
    network = small()
    fast(network, cache, engine="auto")
    with torch.inference_mode():
        assert torch.equal(network(lq), small()(lq))
    assert "restoring by torch" in caplog.text
    assert not cache.exists()


@pytest.mark.parametrize(
    ("pixels", "by", "kept"),
    [(4, 0.01, True), (16, 0.01, False), (1, 0.2, False), (1, float("nan"), False)],
)
def test_a_program_may_choose_other_experts_in_few_pixels(
    cache: Path, monkeypatch: pytest.MonkeyPatch, pixels: int, by: float, kept: bool
) -> None:
    class Changed(networks.SRCNN):
        def restore(self, lq: Tensor) -> Tensor:
            change = torch.zeros(32 * 32)
            change[:pixels] = by
            return super().restore(lq) + change.view(32, 32)

    changed = Changed().eval()
    changed.load_state_dict(small().state_dict())
    traced = openvino.traced_for_size
    monkeypatch.setattr(openvino, "traced_for_size", lambda _, *rest: traced(changed, *rest))
    network = small()
    fast(network, cache)
    with torch.inference_mode():
        if kept:
            network(torch.rand(1, 1, 32, 32))
        else:
            with pytest.raises(InputError, match="differs from it by"):
                network(torch.rand(1, 1, 32, 32))
    assert cache.exists() == kept


def test_no_telemetry_is_sent(tmp_path: Path) -> None:
    """OpenVINO's own `import openvino` reports to its makers where its telemetry is found."""
    spy = "def Telemetry(*_, **__): raise SystemExit('telemetry')\n"
    (tmp_path / "backend").mkdir()
    (tmp_path / "openvino_telemetry").mkdir()
    (tmp_path / "openvino_telemetry" / "__init__.py").write_text(spy)
    (tmp_path / "openvino_telemetry" / "backend.py").write_text("backend_ga4 = None\n")
    restore = f"""
import sys
sys.path[:0] = [{str(tmp_path)!r}, {str(Path(__file__).parent)!r}]
import torch
from test_openvino import fast, small
network = small()
fast(network, None)
with torch.inference_mode():
    network(torch.rand(1, 1, 32, 32))
assert "openvino" in sys.modules and "openvino_telemetry" not in sys.modules
import openvino_telemetry  # can still be imported by others
"""
    plain = f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\nimport openvino"
    for code, said in ((plain, "telemetry"), (restore, "")):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.stderr.strip() == said


def test_unknown_modules_are_refused(cache: Path) -> None:
    network = small()
    fast(network, cache, "bf16", ("encoder",))
    with torch.inference_mode(), pytest.raises(InputError, match="has no module encoder with"):
        network(torch.rand(1, 1, 32, 32))
    network = networks.Restormer(width=8, depths=(1, 1, 1, 1), refinement_depth=0).eval()
    with pytest.raises(InputError, match="no module refinement with weights; choose from stem"):
        openvino.traced_for_size(network, (1, 1, 16, 16), half=True, wide=["refinement"])
    network = networks.Restormer(width=8, depths=(1, 1, 1, 1), refinement_depth=1).eval()
    with pytest.raises(InputError, match="without calling it; name a module that holds it"):
        openvino.traced_for_size(
            network, (1, 1, 16, 16), half=True, wide=["refinement.0.attention.project_in"]
        )
    with pytest.raises(InputError, match="type engine_precision=bf16"):
        fast(small(), cache, "float32", ("encoder",))
