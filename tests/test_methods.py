"""Every kind of network goes the same way: train, stop, resume, evaluate, export, restore."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from conftest import TINY_DATA, Command
from omegaconf import OmegaConf
from power_cut import power_cut
from safetensors.torch import load_file

from amir_lightning.cli import compose
from amir_lightning.config import CONF_DIR
from amir_lightning.tasks import active_tasks
from amir_lightning.train.build import build_module

NETWORKS = sorted(path.stem for path in (CONF_DIR / "network").glob("*.yaml"))
# Those that only change a few options of another one are left out.
KINDS = sorted({*NETWORKS} - {"amir_literal", "amir_no_crm", "amir_no_dictionary", "swinir_light"})


def run_folder(runs: str) -> Path:
    (record,) = Path(runs).glob("*/run.json")
    return record.parent


def checkpoint(runs: str) -> dict[str, torch.Tensor]:
    path = run_folder(runs) / "checkpoints" / "last.ckpt"
    state: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["state_dict"]
    return state


@pytest.mark.slow
@pytest.mark.parametrize("network", KINDS)
def test_a_network_goes_all_the_way(network: str, command: Command) -> None:
    options = [*TINY_DATA, "task=mri+pet", f"network={network}", "trainer.max_steps=4"]
    options += (
        ["loss.warmup_fraction=0.75"] if network == "airnet" else []
    )  # cut in the middle of it
    whole = command("train", *options, "paths.runs_dir=whole")
    assert whole.status == 0, whole.err

    with power_cut(3):
        command("train", *options, "paths.runs_dir=cut")
    resumed = command("train", "run=last", "paths.runs_dir=cut")
    assert resumed.status == 0, resumed.err
    assert "at step 2" in resumed.err
    expected, found = checkpoint("whole"), checkpoint("cut")
    assert list(expected) == list(found)
    different = [name for name in expected if not torch.equal(expected[name], found[name])]
    assert not different

    evaluated = command("evaluate", "run=last", "split=val", "paths.runs_dir=cut")
    assert evaluated.status == 0, evaluated.err
    assert (run_folder("cut") / "evaluation" / "val" / "slices.csv").exists()

    exported = command("export", "run=last", "output=weights", "paths.runs_dir=cut")
    assert exported.status == 0, exported.err
    names = set(load_file("weights/model.safetensors"))
    assert {f"network.{name}" for name in names} <= set(expected)
    assert json.loads(Path("weights/config.json").read_text())["parameters"] > 0

    scan = np.full((61, 47, 2), 700, dtype=np.float32)
    nib.save(nib.Nifti1Image(scan, np.eye(4)), "scan.nii.gz")
    restored = command("restore", "weights=weights", "input=scan.nii.gz", "output=out", "task=mri")
    assert restored.status == 0, restored.err
    (path,) = Path("out").rglob("*.nii.gz")
    image = nib.load(path).get_fdata()
    assert image.shape == scan.shape
    assert np.isfinite(image).all()


def test_the_comparison_lists_every_network() -> None:
    listed = OmegaConf.load(CONF_DIR / "compare.yaml")["networks"]
    assert sorted(listed) == NETWORKS
    assert all(
        (CONF_DIR / "network" / "size" / f"{name}_{scale}.yaml").exists()
        for name in NETWORKS
        for scale in ("demo", "study")
    )


@pytest.mark.parametrize(
    ("network", "prefix"),
    [("amir_contrastive", "contrast."), ("airnet", "contrast."), ("argan", "critic.")],
)
def test_what_only_the_training_needs_is_kept_and_not_exported(
    network: str, prefix: str, command: Command
) -> None:
    done = command("train", *TINY_DATA, "task=mri", f"network={network}", "trainer.max_steps=2")
    assert done.status == 0, done.err
    state = checkpoint("runs")
    assert any(name.startswith(prefix) for name in state)
    assert command("export", "run=last", "output=weights").status == 0
    names = load_file("weights/model.safetensors")
    assert not any(name.startswith((prefix, "network.")) for name in names)


def test_a_warm_up_trains_the_encoder_alone(command: Command) -> None:
    """Two steps of warm-up leave the rest of the network as it was drawn, the third moves it."""
    options = [*TINY_DATA, "task=mri", "network=amir_contrastive", "validation.every=1"]
    states = []
    for steps, fraction in ((1, 1.0), (2, 1.0), (3, 0.7)):
        runs = f"paths.runs_dir=runs{steps}"
        more = [f"trainer.max_steps={steps}", f"loss.warmup_fraction={fraction}", runs]
        done = command("train", *options, *more)
        assert done.status == 0, done.err
        states.append(checkpoint(f"runs{steps}"))
    one, two, three = states
    moved = {name for name in one if not torch.equal(one[name], two[name])}
    assert any(name.startswith("network.instruct.") for name in moved)
    assert all(name.startswith(("network.instruct.", "contrast.")) for name in moved)
    rest = [name for name in two if name.startswith("network.") and "instruct" not in name]
    assert any(not torch.equal(two[name], three[name]) for name in rest)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["network=unet"], "unknown network 'unet'; choose from airnet, amir"),
        (["network=redcnn", "data.patch_size=16"], "expected at least 21x21 for REDCNN"),
        (["network=restormer", "loss=contrastive"], "which Restormer does not make"),
        (["network=argan", "trainer.accumulate_grad_batches=2"], "accumulate_grad_batches is 2"),
        (["network=argan", "trainer.gradient_clip_val=0.1"], "gradient_clip_val is 0.1"),
        (["network=argan", "trainer.precision=16"], "trainer.precision is 16"),
        (["network=argan", "optimizer.adjustable_clip=0.1"], "adjustable_clip is 0.1"),
        (["network=argan", "loss.critic_width=0"], "type loss.critic_width=64"),
        (["optimizer.adjustable_clip=abc"], "type for instance optimizer.adjustable_clip=0.001"),
        (["optimizer.adjustable_clip=-1"], "expected a number above 0"),
        (["optimizer.adjustable_clip=1", "trainer.gradient_clip_val=1.0"], "both clip"),
        (["loss.objective=plan"], "choose from plain, contrastive, adversarial"),
        (["loss.distance=l2"], "choose from l1, mse, charbonnier"),
        (["~loss.distance"], "the loss has no distance; write 'defaults: [l1_balance, _self_]'"),
        (["~loss.global_balance", "~loss.edge_weight"], "the loss has no edge_weight, global_bala"),
        (["network=amir_contrastive", "~loss.momentum"], "momentum; write 'defaults: [contrastive"),
        (["network=argan", "~loss.spectral_weight"], "no spectral_weight; write 'defaults: [adver"),
        (["network=amir_contrastive", "loss.queue_size=0"], "loss.queue_size is 0"),
        (["network.pretrained=none.pth"], "network.pretrained=none.pth cannot be read"),
        (["network.pretrained=3"], "network.pretrained=3 cannot be read"),
        (["network=amir_no_srm", "network.channel_mode=none"], "leave nothing to route"),
        (["network=swinir", "network.heads=5"], "heads"),
    ],
)
def test_a_mistake_is_one_sentence(command: Command, options: list[str], text: str) -> None:
    done = command("train", *TINY_DATA, "task=mri", *options)
    assert done.status == 2
    assert text in done.err
    assert "Traceback" not in done.err
    assert not list(Path("runs").glob("*/run.json"))


def test_pretrained_weights_start_a_run_and_are_part_of_its_name(command: Command) -> None:
    options = [*TINY_DATA, "task=mri", "network=restormer", "trainer.max_steps=2"]
    still = ["optimizer.learning_rate=0.0", "optimizer.final_learning_rate=0.0"]
    assert command("train", *options, "paths.runs_dir=first").status == 0
    weights = run_folder("first") / "checkpoints" / "best.ckpt"
    start = f"network.pretrained={weights}"
    done = command("train", *options, start, *still, "paths.runs_dir=next")
    assert done.status == 0, done.err
    assert "starting from" in done.err
    before, after = (
        torch.load(path, weights_only=True)["state_dict"]
        for path in (weights, run_folder("next") / "checkpoints" / "best.ckpt")
    )
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert run_folder("next").name != run_folder("first").name
    weights.rename("moved.ckpt")  # the same file elsewhere is the same run, and is not read again
    again = command(
        "train",
        *options,
        "network.pretrained=moved.ckpt",
        *still,
        "paths.runs_dir=next",
    )
    assert "finished before" in again.err

    wrong = command("train", *options, "network.pretrained=moved.ckpt", "network.width=16")
    assert wrong.status == 2
    assert "there and" in wrong.err


def test_adjustable_clipping_bounds_the_step(command: Command) -> None:
    """With hardly a gradient left, Adam's epsilon keeps the weights where they were."""
    options = [*TINY_DATA, "task=mri", "network=restormer", "trainer.max_steps=2"]
    still = ["optimizer.learning_rate=0.0", "optimizer.final_learning_rate=0.0"]
    for runs, more in (
        ("start", still),
        ("clipped", ["optimizer.adjustable_clip=1e-14"]),
        ("free", []),
    ):
        done = command("train", *options, *more, f"paths.runs_dir={runs}")
        assert done.status == 0, done.err
    start, clipped, free = (checkpoint(runs) for runs in ("start", "clipped", "free"))
    for state, least, most in ((clipped, 0, 1e-5), (free, 1e-3, 1e-2)):
        moved = max(float((state[name] - start[name]).abs().max()) for name in start)
        assert least <= moved <= most


def test_the_bound_of_adjustable_clipping_widens_as_the_rate_falls(composing: None) -> None:
    cfg = compose("train", ["task=mri", "network=srcnn", "optimizer.adjustable_clip=0.01"])
    module = build_module(cfg, active_tasks(cfg))
    for rate, bound in ((0.1, 0.1), (0.001, 10.0)):
        gradients = []
        for weight in module.network.parameters():
            gradients.append(torch.linspace(-20, 20, weight.numel()).view_as(weight))
            weight.grad = gradients[-1].clone()
        module.configure_gradient_clipping(torch.optim.SGD(module.parameters(), lr=rate))
        for weight, gradient in zip(module.network.parameters(), gradients, strict=True):
            assert torch.equal(weight.grad, gradient.clamp(-bound, bound))


def test_an_edge_term_can_be_added_to_any_network(command: Command) -> None:
    done = command("train", *TINY_DATA, "task=ct", "network=eformer", "loss.edge_weight=0.1")
    assert done.status == 0, done.err
    assert "edge" in done.out
