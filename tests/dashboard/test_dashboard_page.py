"""The page of all runs: what it shows, what it refuses, and what it survives."""

import base64
import io
import json
import re
from pathlib import Path

import pytest
from conftest import Command
from PIL import Image
from run_folders import write_picture, write_run

pytest.importorskip("plotly")

PAGE = Path("runs/dashboard.html")


def data_of(html: str) -> dict:
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', html, re.S)
    return json.loads(text)


def curves_of(html: str, task: str, metric: str = "psnr") -> list[list[dict]]:
    """Traces of each chart of a task."""
    tasks = re.findall(r'<figure data-task="([^"]*)">', html)
    charts = data_of(html)["comparisons"][metric]
    return [chart["data"] for name, chart in zip(tasks, charts, strict=True) if name == task]


def body_of(html: str) -> str:
    """What is shown, without the scripts."""
    return html[html.index("<body") : html.index('<script type="application/json"')]


def test_shows_runs_scores_curves_and_settings_that_differ(command: Command) -> None:
    write_run(Path("runs"), "all", {"mri": 30.0, "ct": 34.25}, parameters=342745)
    rate = {"optimizer": {"learning_rate": 0.001}}
    write_run(Path("runs"), "one", {"ct": 35.5}, network="srcnn", config=rate, seconds=7500)
    write_run(Path("runs"), "young", {"ct": 33.0}, finished=False)
    done = command("dashboard")
    assert done.status == 0, done.err
    assert "3 runs" in done.out
    html = PAGE.read_text()
    body = body_of(html)
    for text in ("34.25", "35.50", "342,745", "2 h 05 min", ">learning rate 0.001<", "running"):
        assert text in body
    assert "runs_dir=" not in body, "where a run lies is no setting"
    assert "width 8" not in body, "nor is what all have"
    (traces,) = curves_of(html, "ct")
    assert {trace["name"] for trace in traces} == {"amir (demo)", "srcnn (demo)"}
    assert {tuple(trace["x"]) for trace in traces} == {(9, 19, 29)}
    assert sorted(trace["y"][-1] for trace in traces) == [33.0, 34.25, 35.5]


def test_tasks_of_one_title_are_told_apart(command: Command) -> None:
    twice = {"tasks": {"pet": {"title": "CT Denoising"}}}
    write_run(Path("runs"), "a", {"mri": 20.0, "ct": 30.0, "pet": 40.0}, config=twice)
    assert command("dashboard").status == 0
    body = body_of(PAGE.read_text())
    for title in ("MRI Super-Resolution<", "CT Denoising (ct)<", "CT Denoising (pet)<"):
        assert title in body


def test_networks_differ_in_their_options_by_nature(command: Command) -> None:
    write_run(Path("runs"), "a", {"ct": 30.0}, network="amir", config={"network": {"width": 8}})
    write_run(Path("runs"), "b", {"ct": 30.0}, network="srcnn", config={"network": {"width": 64}})
    assert command("dashboard").status == 0
    assert ">width 64<" not in body_of(PAGE.read_text())
    write_run(Path("runs"), "c", {"ct": 30.0}, network="srcnn", config={"network": {"width": 32}})
    assert command("dashboard").status == 0
    assert ">width 64<" in body_of(PAGE.read_text())


def test_the_page_needs_nothing_else(command: Command) -> None:
    write_run(Path("runs"), "all", {"ct": 30.0})
    write_picture(Path("runs/all/samples/ct-step000010.png"))
    write_picture(Path("runs/all/samples/ct-step000020.png"), width=1400)
    assert command("dashboard", "pictures.width=100").status == 0
    html = PAGE.read_text()
    head = html[: html.index("<style")]
    assert "default-src 'none'" in head
    addresses = re.findall(r'(?:src|href)="([^"]*)"', body_of(html))
    assert all(address.startswith(("#", "data:")) for address in addresses)
    (picture,) = (address for address in addresses if address.startswith("data:image"))
    with Image.open(io.BytesIO(base64.b64decode(picture.split(",")[1]))) as shown:
        assert shown.size == (100, 2)
    assert "samples/ct, step 20" in html, "the newest"


def test_names_and_values_are_text_whatever_they_hold(command: Command) -> None:
    evil = '"><img src=x onerror=alert(1)>'
    script = "</script><script>alert(2)</script>{{ 7 * 7 }}"
    folder = write_run(
        Path("runs"),
        evil.replace("/", ""),
        {"ct": 30.0},
        network=script,
        device=script,
        config={"note": script, "tasks": {"ct": {"title": script}}},
    )
    write_run(Path("runs"), "plain", {"ct": 30.0})
    with (folder / "metrics.csv").open("a") as file:
        file.write("39,0.5,30\n")
    write_picture(folder / "figures" / "a'\"onload=alert(3) <i>.png")
    experiment = Path("experiments") / "<i>table9"
    experiment.mkdir(parents=True)
    (experiment / "table.md").write_text(
        "| a |\n| --- |\n| <script>alert(4)</script> [x](javascript:alert(5)) ![y](http://z) |\n"
    )
    (experiment / "results.csv").write_text("scale,<i>\ndemo,<script>alert(6)</script>\n")
    broken = Path("runs") / "<script>alert(7)<"
    broken.mkdir()
    assert command("dashboard").status == 0
    html = PAGE.read_text()
    body = body_of(html)
    assert "<script" not in body
    assert not re.search(r"<(img src=x|i>)", body)
    assert not re.search(r"<[^>]*\son\w+=", re.sub(r'"[^"]*"', '""', body))
    assert "javascript:alert(5)" not in re.findall(r'href="([^"]*)"', body)
    assert "{{ 7 * 7 }}" in body
    assert html.count("</script>") == 3
    (traces,) = curves_of(html, "ct")
    for trace in traces:
        assert "<img" not in trace["hovertemplate"], "Plotly knows some markup"


def test_broken_folders_are_listed_and_stop_nothing(command: Command) -> None:
    runs = Path("runs")
    write_run(runs, "good", {"ct": 30.0})
    for name, file, content in (
        ("half", "run.json", '{"name": "half", "ta'),
        ("list", "run.json", "[1, 2]"),
        ("bare", "run.json", "{}"),
        ("result", "result.json", '{"test/ct/psnr": 3'),
        ("nothing", "result.json", "{}"),
        ("yaml", "config.yaml", "a: [1, {"),
        ("rows", "config.yaml", "[]"),
        ("bytes", "run.json", b"\xff\xfe\x00"),
    ):
        path = write_run(runs, name, {"ct": 30.0}) / file
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    (runs / "empty").mkdir()
    (runs / ".sweeps").mkdir()
    (runs / "a-file").write_text("")
    done = command("dashboard")
    assert done.status == 0, done.err
    for name in ("half", "list", "bare", "result", "nothing", "yaml", "rows", "bytes", "empty"):
        assert f"broken  {name}: " in done.out
    assert "sweeps" not in done.out
    html = PAGE.read_text()
    assert "1 of 1 runs" in html
    assert "half/run.json cannot be read" in html


def test_torn_metrics_and_odd_records_are_read_as_far_as_they_go(command: Command) -> None:
    folder = write_run(
        Path("runs"), "odd", {"ct": 30.0}, parameters="many", data=[1], versions=3, seconds="x"
    )
    with (folder / "metrics.csv").open("a") as file:
        file.write("nan,1,2\n39,inf,31\n4x,0.1")
    write_picture(folder / "samples" / "ok.png")
    (folder / "samples" / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n torn")
    done = command("dashboard")
    assert done.status == 0, done.err
    ((trace,),) = curves_of(PAGE.read_text(), "ct")
    assert trace["x"] == [9, 19, 29, 39]
    assert "torn.png" in PAGE.read_text()


def test_experiments_are_shown_with_their_scale(command: Command) -> None:
    write_run(Path("runs"), "all", {"ct": 30.0})
    table = Path("experiments/table3")
    table.mkdir(parents=True)
    (table / "README.md").write_text("left unsaid")
    (table / "table.md").write_text(
        "| network | PSNR |\n| --- | ---: |\n| **amir** | <u>31.5</u> |\n"
    )
    (table / "results.csv").write_text("network,scale\n" + "amir,demo\n" * 12)
    write_picture(table / "figure.png")
    assert command("dashboard", "table_rows=10").status == 0
    html = PAGE.read_text()
    assert "<strong>amir</strong>" in html
    assert "<u>31.5</u>" in html
    assert "left unsaid" not in html
    assert "2 more rows are in the file" in html
    assert re.search(r"<h3>table3 <span class=\"badge\" data-scale=\"demo\">demo</span>", html)
    assert "table3/figure" in html


def test_pictures_beyond_the_limit_are_counted(command: Command) -> None:
    for name, hour in (("old", 10), ("new", 11)):
        run = write_run(Path("runs"), name, {"ct": 30.0}, started=f"2026-01-01T{hour}:00:00")
        write_picture(run / "samples" / f"{name}.png", 300, 300)
    done = command("dashboard", "pictures.megabytes=0.001")
    assert "pictures: 1" in done.out
    html = PAGE.read_text()
    assert "samples/new" in html
    assert "samples/old" not in html


def test_long_curves_keep_both_ends(command: Command) -> None:
    folder = write_run(Path("runs"), "long", {"ct": 30.0})
    rows = "".join(f"{step},{step}\n" for step in range(5000))
    (folder / "metrics.csv").write_text("step,val/ct/psnr\n" + rows)
    assert command("dashboard", "curve_points=100").status == 0
    ((trace,),) = curves_of(PAGE.read_text(), "ct")
    assert len(trace["x"]) == 100
    assert (trace["x"][0], trace["x"][-1]) == (0, 4999)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ((), "no run in runs has finished; type python -m amir_lightning.train first"),
        (("curve_points=1",), "curve_points is 1"),
        (("pictures.quality=0",), "pictures.quality is 0"),
        (("pictures.quality=300",), "pictures.quality is 300, expected from 1 to 100"),
        (("pictures.quality=good",), "expected an integer"),
        (("outptu=x",), "did you mean 'output'"),
    ],
)
def test_mistakes(command: Command, options: tuple[str, ...], text: str) -> None:
    done = command("dashboard", *options)
    assert done.status == 2
    assert text in done.err
    assert not PAGE.exists()


def test_a_run_that_goes_on_is_named_when_none_has_finished(command: Command) -> None:
    write_run(Path("runs"), "young", {"ct": 33.0}, finished=False)
    assert "python -m amir_lightning.train run=young" in command("dashboard").err


def test_an_output_that_cannot_be_written_leaves_nothing(command: Command) -> None:
    write_run(Path("runs"), "all", {"ct": 30.0})
    done = command("dashboard", "output=/proc/page.html")
    assert done.status == 2
    assert "Traceback" not in done.err


def test_settings_of_most_runs_are_not_shown(tmp_path: Path) -> None:
    from amir_lightning.dashboard.collect import read_run, settings

    entries = [
        read_run(write_run(tmp_path, str(seed), {"ct": 30.0}, config={"loss": {"edge": edge}}))
        for seed, edge in enumerate((1, 1, 2))
    ]
    assert settings(entries) == [{}, {}, {"loss.edge": 2}]
    assert settings(entries[1:]) == [{"loss.edge": 1}, {"loss.edge": 2}]


def test_runs_say_whose_data_they_show(tmp_path: Path, command: Command) -> None:
    for name, source in (("drawn", "phantoms"), ("measured", "scans"), ("older", None)):
        facts = {"file": "data/phantoms/ct.h5", "fingerprint": "0" * 64}
        facts |= {"source": source} if source else {}
        write_run(tmp_path / "runs", name, {"ct": 30.0}, data={"ct": facts})
    done = command("dashboard", "experiments_dir=none")
    assert done.status == 0, done.err
    page = Path("runs/dashboard.html").read_text()
    for name, text in (("drawn", "phantoms"), ("measured", "scans"), ("older", "unknown data")):
        (row,) = re.findall(rf'<td class="name"><a[^>]*>{name}</a>.*', page)
        assert f">{text}</span>" in row
    assert "drawn patients, not on people" in page


def recorded(fingerprint: str, seed: int | None = None) -> dict[str, object]:
    """Data of a task as run.json has them; an old run does not know what drew its phantoms."""
    facts: dict[str, object] = {"file": "data/ct.h5", "fingerprint": fingerprint * 64}
    return facts if seed is None else facts | {"source": "phantoms", "drawn": {"seed": seed}}


def test_a_chart_holds_runs_that_were_validated_on_the_same_data(command: Command) -> None:
    runs = Path("runs")
    for name, facts in {
        "here": recorded("a", 0),
        "other-cpu": recorded("b", 0),
        "old": recorded("a"),
        "other-seed": recorded("c", 1),
    }.items():
        write_run(runs, name, {"ct": 30.0}, data={"ct": facts})
    write_run(runs, "lost", {"ct": 30.0})
    assert command("dashboard").status == 0
    html = PAGE.read_text()
    assert sorted(map(len, curves_of(html, "ct"))) == [1, 1, 3]
    headings = re.findall(r"<figcaption>CT Denoising <small>on ([^<]*)</small>", html)
    assert re.fullmatch("phantoms [ab]{12}", headings[0]), "the largest group first"
    assert set(headings[1:]) == {"phantoms cccccccccccc", "unknown data"}
    for traces in curves_of(html, "ct"):
        assert {trace["line"]["color"] for trace in traces} == {"#0072b2"}, "one network"


def test_other_slices_and_other_definitions_are_other_charts(command: Command) -> None:
    for name, config in {
        "a": {},
        "b": {"validation": {"slices": 6}},
        "c": {"validation": {"slices": 6}, "metrics": "standard"},
    }.items():
        write_run(Path("runs"), name, {"ct": 30.0}, config=config, data={"ct": recorded("a", 0)})
    assert command("dashboard").status == 0
    html = PAGE.read_text()
    assert list(map(len, curves_of(html, "ct"))) == [1, 1, 1]
    data = "on phantoms aaaaaaaaaaaa, "
    for told in ("all slices, paper", "6 slices, paper", "6 slices, standard"):
        assert f"{data}{told} definition<" in html


def test_settings_are_said_in_words(command: Command) -> None:
    changed = {
        "validation": {"every": 1000},
        "checkpoint": {"every": 2000},
        "trainer": {"max_steps": 1, "log_every_n_steps": 5},
        "network": {"_target_": "mine.Small", "bias": False},
        "compile": True,
    }
    usual = {
        "validation": {"every": 1},
        "checkpoint": {"every": 1},
        "trainer": {"max_steps": 2, "log_every_n_steps": 10},
        "network": {"_target_": "theirs.Large", "bias": True},
        "compile": False,
    }
    write_run(Path("runs"), "plain", {"ct": 30.0}, config=usual)
    write_run(Path("runs"), "changed", {"ct": 30.0}, config=changed)
    assert command("dashboard").status == 0
    (row,) = re.findall(r'>changed</a>.*?class="settings">(.*?)</td>', PAGE.read_text(), re.S)
    assert set(re.findall(r">([^<]+)</span>", row)) == {
        "validation every 1000 steps",
        "checkpoint every 2000 steps",
        "max steps 1",
        "log every 5 steps",
        "network mine.Small",
        "bias off",
        "compile on",
    }
    assert 'title="checkpoint.every=2000"' in row, "as it is typed"
