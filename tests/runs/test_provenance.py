"""Phantoms never pass for patients, whatever a folder is called; what is not known is said so."""

import gc
import json
import shutil
from pathlib import Path

import h5py
import pytest
from conftest import TINY, Command
from omegaconf import OmegaConf
from written_runs import jobs, plain_scores, write_run

from amir_lightning.data.store import Store
from amir_lightning.draw.finished_run import FinishedRun
from amir_lightning.draw.style import stamp
from amir_lightning.errors import InputError
from amir_lightning.runs.folder import RunFolder
from amir_lightning.tabulate.render import notes
from amir_lightning.tabulate.results import collect, refuse_mixtures
from amir_lightning.tasks import load_task


def only_run(folder: str = "runs") -> RunFolder:
    (path,) = Path(folder).glob("*/run.json")
    return RunFolder(path.parent)


def older(run: RunFolder) -> RunFolder:
    """The run as an earlier version wrote it."""
    record = json.loads(run.record_file.read_text())
    del record["identity"], record["compile"]
    for facts in record["data"].values():
        del facts["source"], facts["drawn"]
    run.record_file.write_text(json.dumps(record))
    return RunFolder(run.path)


def card(command: Command, run: RunFolder, output: str) -> str:
    done = command("export", f"run={run.path}", f"output={output}")
    assert done.status == 0, done.err
    return Path(output, "README.md").read_text()


def test_a_model_card_says_phantoms_whatever_their_folder_is_called(
    command: Command, train: Command
) -> None:
    options = ("task=mri", "paths.phantom_dir=patients")
    assert train(*options).status == 0
    run = only_run()
    assert Path(run.data["mri"].file).parent == Path("patients")
    assert run.source == "phantoms"
    text = card(command, run, "own")
    assert "embedded phantoms, no patients" in text
    assert "measured on embedded phantoms, not on patients" in text

    # The same file as prepared data stays what it is, and is another run by its content.
    Path("prepared").mkdir()
    shutil.copy(run.data["mri"].file, "prepared/mri.h5")
    assert train("task=mri", "paths.prepared_dir=prepared", "paths.runs_dir=copy").status == 0
    assert only_run("copy").source == "phantoms"
    assert only_run("copy").name != run.name

    # Phantoms that another machine drew otherwise are the same run, and the difference is said.
    again = train(*options)
    assert "finished before" in again.err
    assert "another content" not in again.err
    gc.collect()  # readers that the training left in circles still hold the file
    with h5py.File(run.data["mri"].file, "r+") as file:
        file.attrs["fingerprint"] = "0" * 64
    again = train(*options)
    assert "finished before" in again.err
    assert f"the phantoms of {run.name} have another content" in again.err

    # A folder of an earlier version is read; nothing is guessed from its paths.
    run = older(run)
    assert run.source == "unknown"
    assert run.identity is None
    assert "Whether they were measured on phantoms or on patients is not known" in card(
        command, run, "older"
    )
    gc.collect()
    with h5py.File(run.data["mri"].file, "r+") as file:
        file.attrs["fingerprint"] = run.data["mri"].fingerprint
    scored = command("evaluate", f"run={run.path}", "trainer.accelerator=cpu")
    assert scored.status == 0, scored.err
    resumed = command("train", f"run={run.path}", "logger=csv", "paths.phantom_dir=patients")
    assert "finished before" in resumed.err
    anew = train(*options)
    assert "finished before" not in anew.err
    assert len(list(Path("runs").glob("*/run.json"))) == 2


def test_a_store_knows_what_drew_it(command: Command, data_dir: Path) -> None:
    done = command("contact_sheet", *TINY, "task=mri", "output=sheet.png", "patients=1")
    assert done.status == 0, done.err
    stores = [Store(path, "mri") for path in (data_dir / "phantoms").glob("mri-*.h5")]
    assert stores
    for store in stores:
        assert store.source == "phantoms"
        assert store.drawn is not None
        assert {"version", "phantom", "degradation", "cohort"} <= store.drawn.keys()


@pytest.mark.usefixtures("composing")
def test_tables_say_whose_data_they_show(tmp_path: Path) -> None:
    wanted = jobs("figure4")
    texts = {}
    for source in ("phantoms", "scans", ""):
        run = RunFolder(write_run(wanted[0], tmp_path / f"a{source}", plain_scores, source=source))
        methods = collect(wanted, [run], tmp_path / "none.csv", bootstrap=0)
        texts[source] = " ".join(notes(methods, [load_task(task) for task in ("mri", "ct", "pet")]))
    assert "Embedded phantoms instead of patients: mri, ct, pet." in texts["phantoms"]
    assert "Phantoms or patients, which the records of older runs do not say" in texts[""]
    assert "hantoms" not in texts["scans"]


@pytest.mark.usefixtures("composing")
def test_an_older_run_of_equal_content_stands_beside_a_newer_one(tmp_path: Path) -> None:
    wanted = jobs("table2", "network=restormer,amir")
    runs = [
        RunFolder(write_run(job, tmp_path, plain_scores, source=source))
        for job, source in zip(wanted, ("", "phantoms"), strict=True)
    ]
    for name, fingerprint in (("same", None), ("other", "0" * 64)):
        if fingerprint:
            record = json.loads(runs[0].record_file.read_text())
            for facts in record["data"].values():
                facts["fingerprint"] = fingerprint
            runs[0].record_file.write_text(json.dumps(record))
        methods = collect(wanted, [RunFolder(run.path) for run in runs], tmp_path / name, 0)
        if fingerprint:
            with pytest.raises(InputError, match="differ in their data of"):
                refuse_mixtures(methods)
        else:
            refuse_mixtures(methods)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("phantoms", "scale=paper, embedded phantoms: not comparable with the paper"),
        ("scans", "scale=paper"),
        ("", "scale=paper, phantoms or patients unknown: not comparable with the paper"),
    ],
)
@pytest.mark.usefixtures("composing")
def test_figures_say_whose_data_they_show(tmp_path: Path, source: str, text: str) -> None:
    run = RunFolder(write_run(jobs("figure4")[0], tmp_path, plain_scores, source=source))
    finished = FinishedRun(run, OmegaConf.create({"scale": "paper"}), "best", "test")
    assert stamp([finished]).splitlines() == [text, run.name]
