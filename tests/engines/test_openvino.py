"""OpenVINO restores as torch does, keeps its programs in the user's own folder, or says why not."""

import importlib.util
import logging
import os
import stat
from pathlib import Path

import pytest
import torch

from amir_lightning import networks
from amir_lightning.engines import choice, openvino
from amir_lightning.engines.choice import Request, use_engine
from amir_lightning.errors import InputError
from amir_lightning.export.formats import export_programs

pytest.importorskip("openvino", reason="OpenVINO is not installed; make setup installs it")
from openvino import Core

CPU = {"accelerator": "cpu", "devices": 1, "precision": "32-true"}


def small(seed: int = 0) -> networks.SRCNN:
    torch.manual_seed(seed)
    network = networks.SRCNN().eval()
    for one in network.parameters():
        torch.nn.init.normal_(one, std=0.05)
    return network


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "home" / "programs"


def fast(network, cache: Path, precision: str = "float32", wide=(), engine: str = "openvino"):
    return use_engine(network, Request(engine, precision, wide, cache), CPU)


def no_conversion(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object) -> None:
        raise AssertionError("converted again")

    monkeypatch.setattr(openvino, "convert", refuse)


@pytest.mark.slow
def test_amir_restores_as_torch_does_in_float32_and_bf16(cache: Path) -> None:
    torch.manual_seed(0)
    network = networks.AMIR(width=8, depths=(1, 1, 1, 1), refinement_depth=1).eval()
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


@pytest.mark.slow
def test_exported_programs_are_read(tmp_path: Path) -> None:
    """Attention of several heads is what OpenVINO once refused in model.onnx."""
    torch.manual_seed(0)
    network = networks.Restormer(width=8, depths=(1, 1, 1, 1), refinement_depth=1).eval()
    formats = ["torch_export", "openvino"]
    formats += ["onnx"] if importlib.util.find_spec("onnxscript") else []
    found = export_programs(tmp_path, network, formats, 1e-5)
    assert "model.xml" in found
    core = Core()
    programs = {"model.pt2": openvino.convert(torch.export.load(tmp_path / "model.pt2"))}
    programs |= {name: core.read_model(tmp_path / name) for name in found if name != "model.pt2"}
    for height, width in ((64, 64), (40, 96)):
        lq = torch.rand(1, 1, height, width)
        with torch.inference_mode():
            expected = network(lq)
        for name, program in programs.items():
            run = core.compile_model(program, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
            restored = torch.from_numpy(run(lq.numpy())[0])
            torch.testing.assert_close(restored, expected, rtol=0, atol=1e-5, msg=name)


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
        assert path.read_bytes() == whole or len(path.read_bytes()) == len(whole)
        no_conversion(monkeypatch)
        network = small()
        fast(network, cache)
        network(lq)


@pytest.mark.skipif(os.geteuid() == 0, reason="root can write everywhere")
def test_a_folder_without_write_access_is_said(cache: Path, caplog) -> None:
    cache.parent.mkdir()
    cache.parent.chmod(0o500)
    network = small()
    fast(network, cache)
    with torch.inference_mode():
        network(torch.rand(1, 1, 32, 32))
    assert "the next command compiles it anew" in caplog.text


def test_a_place_that_is_no_folder_is_said(cache: Path, caplog) -> None:
    cache.parent.write_text("a file")
    network = small()
    fast(network, cache)
    with torch.inference_mode():
        network(torch.rand(1, 1, 32, 32))
    assert "the next command compiles it anew" in caplog.text


def test_auto_compiles_what_is_worth_it(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = small()
    engine = fast(network, cache, engine="auto")
    assert engine.restores(9, 1, 32, 40).name == "torch"
    with torch.inference_mode():
        assert torch.equal(network(torch.ones(1, 1, 32, 40)), small()(torch.ones(1, 1, 32, 40)))
    assert not cache.exists()
    assert engine.restores(1, 1, 24, 40).name == "torch"
    assert engine.restores(9, 1, 32, 40).name == "openvino"
    assert len(list(cache.iterdir())) == 1
    no_conversion(monkeypatch)
    assert fast(small(), cache, engine="auto").restores(1, 1, 32, 40).name == "openvino"
    failing = fast(small(), cache, engine="auto")
    assert failing.restores(99, 1, 24, 40).name == "torch"


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


def test_no_telemetry_is_sent(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    telemetry = pytest.importorskip("openvino_telemetry")

    def refuse(*_args: object, **_named: object) -> None:
        raise AssertionError("telemetry")

    for name in ("__init__", "start_session", "send_event"):
        monkeypatch.setattr(telemetry.Telemetry, name, refuse, raising=False)
    network = small()
    fast(network, cache)
    with torch.inference_mode():
        network(torch.rand(1, 1, 32, 32))


@pytest.mark.parametrize(
    ("request_", "trainer", "text"),
    [
        (("onnx", "float32"), {}, "choose from auto, torch, openvino"),
        (("openvino", "int8"), {}, "choose from float32, bf16"),
        (("torch", "bf16"), {}, "trainer.precision=bf16-mixed for torch"),
        (("openvino", "float32"), {"accelerator": "gpu"}, "type trainer.accelerator=cpu"),
        (("openvino", "float32"), {"precision": "bf16-mixed"}, "type engine_precision=bf16"),
        (("auto", "bf16"), {"devices": 2}, "starts several processes"),
    ],
)
def test_a_mistake_is_one_sentence(
    cache: Path, request_: tuple[str, str], trainer: dict[str, object], text: str
) -> None:
    with pytest.raises(InputError, match=text):
        use_engine(small(), Request(*request_, (), cache), {**CPU, **trainer})


def test_unknown_modules_are_refused(cache: Path) -> None:
    network = small()
    fast(network, cache, "bf16", ("encoder",))
    with torch.inference_mode(), pytest.raises(InputError, match="has no module encoder; choose"):
        network(torch.rand(1, 1, 32, 32))
    network = networks.Restormer(width=8, depths=(1, 1, 1, 1), refinement_depth=1).eval()
    with pytest.raises(InputError, match="without calling it; name a module that holds it"):
        openvino.traced_for_size(
            network, (1, 1, 16, 16), half=True, wide=["refinement.0.attention.project_in"]
        )
    with pytest.raises(InputError, match="type engine_precision=bf16"):
        fast(small(), cache, "float32", ("encoder",))


def test_without_the_package_torch_restores_and_says_so(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(choice.openvino, "installed", lambda: False)
    assert fast(small(), cache, engine="auto").label.name == "torch"
    assert 'pip install "amir-lightning[openvino]"' in caplog.text
    with pytest.raises(InputError, match="not installed"):
        fast(small(), cache)
