"""The model card of an exported network."""

from collections.abc import Mapping
from typing import Any

from amir_lightning.metrics import SCORES
from amir_lightning.system.markdown import table
from amir_lightning.tasks import Task

# Source of the data in config.json, and its name in the card.
_SOURCES = {
    "phantoms": "embedded phantoms, no patients",
    "scans": "prepared scans",
    "prepared scans": "prepared scans",  # written by earlier versions
}
# What a user of a program has to know.
_NOTES = {
    "model.xml": "; belongs to `model.bin`. Compile it with `INFERENCE_PRECISION_HINT` f32, "
    "because OpenVINO's default is bf16 on many CPUs",
}
_STAMPS = {
    "phantoms": " They were measured on embedded phantoms, not on patients.",
    "unknown": " Whether they were measured on phantoms or on patients is not known.",
}


def model_card(config: Mapping[str, Any]) -> str:
    """Write the model card, with the front matter and the sections that model hubs read."""
    # Classes of this package are named without a module.
    module, _, name = config["network"]["class"].rpartition(".")
    trusted = (f', trusted=["{module}"]', f" trusted=[{module}]") if module else ("", "")
    tasks = [Task.from_config(key, node) for key, node in config["tasks"].items()]
    ranges = table(
        ["task", "title", "units", "range", "plane"],
        (
            [
                task.name,
                task.title,
                task.units,
                "{:g} to {:g}".format(*task.value_range),
                task.plane,
            ]
            for task in tasks
        ),
        range(5),
    )
    scale = config.get("scale", "unknown")
    stamp = (
        "These are the scores of a small network on small data (scale demo), not the paper's."
        if scale == "demo"
        else f"Scale {scale}."
    )
    sources = {str(node.get("source")) for node in config.get("data", {}).values()}
    stamp += "".join(text for source, text in _STAMPS.items() if source in sources)
    trained_on = (
        "It was trained on phantoms: drawn patients that are scanned by simulated physics. It has "
        "seen no patient.\n"
        if sources == {"phantoms"}
        else ""
    )
    data = "\n".join(
        f"- {key}: {_SOURCES.get(str(node.get('source')), 'unknown')}, fingerprint "
        f"`{str(node['fingerprint'])[:16]}`"
        for key, node in config.get("data", {}).items()
    )
    programs = "\n".join(
        f"- `{file}`: any height and width that are multiples of {node['size_multiple']}; largest "
        f"difference from the network on {', '.join(node['compared_on'])}: "
        f"{node['largest_difference']:.2g} (images in [0, 1])" + _NOTES.get(file, "")
        for file, node in config.get("programs", {}).items()
    )
    return f"""---
license: apache-2.0
library_name: amir_lightning
tags: [medical-imaging, image-restoration, {", ".join(task.name for task in tasks)}]
---

# {name} for {", ".join(task.title for task in tasks)}

{config["parameters"]:,} parameters, trained with amir_lightning at scale {scale},
seed {config.get("seed", "unknown")}.

{trained_on}
**Intended use: research only. This is not a medical device, and no diagnosis may rest on it.**

```python
from amir_lightning import load_pretrained

restorer = load_pretrained("<this folder>"{trusted[0]})
image = restorer.restore(lq, task="{tasks[0].name}")  # lq in {tasks[0].units}, (..., H, W)
```

```bash
python -m amir_lightning.restore weights=<this folder> input=<scans> output=<new folder>{trusted[1]}
```

## Value ranges

Images are clipped to the range of their task and mapped to [0, 1].

{ranges}
## Scores

{_scores(config, tasks)}{_clinical(config, tasks)}
{stamp}

## Scores on real scans

{_on_scans(config, tasks)}

## Data

{data or "unknown"}

## Programs

{programs or "none"}

## Limits

What the network has not seen in training (other scanners, body parts, doses, contrasts) it restores
without warning, and it may invent or remove structures.
"""


def _scores(config: Mapping[str, Any], tasks: list[Task]) -> str:
    scores = config.get("scores") or {}
    found = {
        task.name: {key: scores[f"test/{task.name}/{key}"] for key in SCORES}
        for task in tasks
        if f"test/{task.name}/psnr" in scores
    }
    if not found:
        return "The run has no scores on a test split.\n"
    return f"Test split, {_definition(config)}, mean over slices.\n\n{_table(found, tasks)}"


def _on_scans(config: Mapping[str, Any], tasks: list[Task]) -> str:
    found = config.get("scans") or {}
    if not found:
        return "These weights have not been scored on scans other than the data below."
    counts = ", ".join(f"{node['scans']} of {name}" for name, node in found.items())
    return (
        "Scans of patients that the network has not seen, with low quality simulated from them, as "
        f"`restore degrade=true` does. {_definition(config).capitalize()}, mean over the scans.\n\n"
        f"{_table(found, tasks)}\n"
        f"Scans: {counts}. A few scans show whether the weights are of use outside their training "
        "data. They are no estimate for other scanners and patients."
    )


def _definition(config: Mapping[str, Any]) -> str:
    return f"{config.get('metrics', 'paper')} definition"


def _table(found: Mapping[str, Mapping[str, float]], tasks: list[Task]) -> str:
    rows = []
    for task in tasks:
        for label, prefix in (("input", "input_"), ("restored", "")):
            if scores := found.get(task.name):
                psnr, ssim, rmse = (scores[f"{prefix}{key}"] for key in ("psnr", "ssim", "rmse"))
                values = f"{psnr:.2f}", f"{ssim:.4f}", f"{rmse:.4g} {task.units}"
                rows.append([task.title, label, *values])
    return table(["task", "image", "PSNR [dB]", "SSIM", "RMSE"], rows, (0, 1))


def _clinical(config: Mapping[str, Any], tasks: list[Task]) -> str:
    """Clinical measures of the test split; empty if the run was not evaluated for them."""
    rows = []
    for task in tasks:
        for one in config.get("clinical", []):
            if one["task"] == task.name:
                numbers = (one["values"].get(key) for key in ("hq", "input", "restored"))
                texts = ("" if number is None else f"{number:.4g}" for number in numbers)
                rows.append([task.title, one["measure"], one["unit"], *texts])
    if not rows:
        return ""
    heads = ["task", "clinical measure", "unit", "HQ", "input", "restored"]
    return f"\nTest split, mean over patients.\n\n{table(heads, rows, (0, 1, 2))}"
