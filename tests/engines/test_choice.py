"""Which engine restores, also where OpenVINO is not installed."""

import logging
from pathlib import Path

import pytest
from test_openvino import CPU, fast, small

from amir_lightning.engines import openvino
from amir_lightning.engines.cache import cache_folder
from amir_lightning.engines.choice import Request, use_engine
from amir_lightning.errors import InputError


@pytest.mark.parametrize(
    ("request_", "trainer", "text"),
    [
        (("onnx", "float32"), {}, "choose from auto, torch, torch_compiled, openvino"),
        (("openvino", "int8"), {}, "choose from float32, bf16"),
        (("torch", "bf16"), {}, "trainer.precision=bf16-mixed for torch"),
        (("torch_compiled", "float32"), {}, "is for GPUs, and the network runs on a CPU"),
        (("openvino", "float32"), {"accelerator": "gpu"}, "type trainer.accelerator=cpu"),
        (("openvino", "float32"), {"precision": "bf16-mixed"}, "type engine_precision=bf16"),
        (("auto", "bf16"), {"devices": 2}, "starts several processes"),
    ],
)
def test_a_mistake_is_one_sentence(
    tmp_path: Path, request_: tuple[str, str], trainer: dict[str, object], text: str
) -> None:
    with pytest.raises(InputError, match=text):
        use_engine(small(), Request(*request_, (), tmp_path), {**CPU, **trainer})


def test_without_the_package_torch_restores_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(openvino, "installed", lambda: False)
    assert fast(small(), tmp_path, engine="auto").label.name == "torch"
    assert 'pip install "amir-lightning[openvino]"' in caplog.text
    with pytest.raises(InputError, match="not installed"):
        fast(small(), tmp_path)


def test_programs_are_never_kept_with_weights(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "exported" / "deep").mkdir(parents=True)
    (tmp_path / "exported" / "model.safetensors").touch()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "exported" / "deep")
    for typed in ("exported", "exported/deep/cache", "link"):
        with pytest.raises(InputError, match="is no place for programs"):
            cache_folder(typed)
    assert cache_folder("mine") == tmp_path / "mine" / "programs"
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder(None) == tmp_path / ".cache" / "amir_lightning" / "programs"
