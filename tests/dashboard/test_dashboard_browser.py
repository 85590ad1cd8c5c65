"""The page in a real browser: Debian's chromium, skipped where there is none."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Command
from run_folders import write_picture, write_run

pytest.importorskip("plotly")
playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
if CHROMIUM is None:
    pytest.skip("no chromium here: apt-get install chromium", allow_module_level=True)


@pytest.fixture(scope="module")
def browser() -> Iterator["playwright.Browser"]:
    with playwright.sync_playwright() as driver:
        options = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=options)
        yield browser
        browser.close()


@pytest.fixture
def page_file(command: Command) -> Path:
    runs = Path("runs")
    usual, rare = ({"validation": {"every": steps}} for steps in (3, 7))
    write_run(runs, "all-amir", {"mri": 30.0, "ct": 34.0}, config=usual, started="2026-01-03")
    write_run(runs, "ct-srcnn", {"ct": 36.0}, "srcnn", config=rare, started="2026-01-02")
    write_run(runs, "mri-paper", {"mri": 9.5}, scale="paper", started="2026-01-01")
    evil = write_run(runs, '"><img src=x onerror=document.title=1>', {"mri": 20.0}, config=usual)
    write_picture(evil / "samples" / "mri-step000010.png")
    assert command("dashboard").status == 0
    return Path("runs/dashboard.html").resolve()


class Opened:
    """A page with everything that it complained about or asked the network for."""

    def __init__(self, browser: "playwright.Browser", path: Path, width: int) -> None:
        self.page = browser.new_page(viewport={"width": width, "height": 844})
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())
        self.page.wait_for_selector(".comparison .main-svg")

    def names(self) -> list[str]:
        links = self.page.locator("#table tbody tr:visible a")
        return [text.split("-")[0] for text in links.all_inner_texts()]

    def check(self) -> None:
        assert not self.complaints
        outside = [url for url in self.requests if not url.startswith(("file:", "data:", "blob:"))]
        assert not outside
        page = self.page
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.close()


def test_sort_by_score(browser: "playwright.Browser", page_file: Path) -> None:
    opened = Opened(browser, page_file, 1280)
    evil = '"><img src=x onerror=document.title=1>'
    assert opened.names() == ["all", "ct", evil, "mri"], "the newest first"
    heading = opened.page.locator("#table thead").get_by_role("button", name="MRI")
    heading.click()
    assert opened.names() == ["all", evil, "mri", "ct"]
    heading.click()
    assert opened.names() == ["mri", evil, "all", "ct"], "as numbers, what is missing last"
    opened.check()


def test_filter_by_task_network_and_text(browser: "playwright.Browser", page_file: Path) -> None:
    opened = Opened(browser, page_file, 1280)
    page = opened.page
    page.select_option("select[name=task]", "ct")
    assert opened.names() == ["all", "ct"]
    assert page.locator("#count").inner_text() == "2 of 4 runs"
    heads = page.locator("#table thead th:visible").all_inner_texts()
    assert any("CT" in text for text in heads)
    assert not any("MRI" in text for text in heads)
    assert page.locator(".comparison:visible").count() == 1
    lines = page.locator(".comparison:visible .scatterlayer .trace")
    assert lines.count() == 2
    assert page.locator("#legend span").all_inner_texts() == ["amir (demo)", "srcnn (demo)"]
    assert page.locator("#curves figcaption:visible").all_inner_texts() == [
        "CT Denoising on unknown data"
    ]
    page.select_option("select[name=network]", "srcnn")
    assert opened.names() == ["ct"]
    assert lines.count() == 1
    page.select_option("select[name=network]", "")
    page.select_option("select[name=task]", "")
    page.fill("input[name=text]", "paper")
    assert opened.names() == ["mri"]
    page.fill("input[name=text]", "validation.every=7")
    assert opened.names() == ["ct"], "a setting as it is typed"
    page.fill("input[name=text]", "every 7 steps")
    assert opened.names() == ["ct"], "and as it is shown"
    opened.check()


def test_another_score_is_shown(browser: "playwright.Browser", page_file: Path) -> None:
    opened = Opened(browser, page_file, 1280)
    cell = opened.page.locator("#table tbody tr:has-text('all-amir') td[data-task=ct]")
    assert cell.inner_text() == "34.00"
    opened.page.select_option("select[name=metric]", "ssim")
    assert cell.inner_text() == ""
    opened.page.select_option("select[name=metric]", "psnr")
    assert cell.inner_text() == "34.00"
    opened.check()


@pytest.mark.parametrize("width", [1280, 390])
def test_open_a_run_with_a_hostile_name(
    browser: "playwright.Browser", page_file: Path, width: int
) -> None:
    opened = Opened(browser, page_file, width)
    page = opened.page
    assert page.locator("article:visible").count() == 0
    page.get_by_role("link", name="onerror").click()
    article = page.locator("article:visible")
    article.locator(".chart .main-svg").first.wait_for()
    assert "onerror=document.title=1>" in article.locator("h2").inner_text()
    assert page.title() == "amir_lightning: 4 runs"
    assert article.locator("img").evaluate("image => image.decode().then(() => image.naturalWidth)")
    article.locator("select").select_option("val/mri/psnr")
    assert article.locator(".scatterlayer .trace").count() == 1
    article.get_by_role("link", name="close").click()
    assert page.locator("article:visible").count() == 0
    opened.check()


_OUTSIDE = """chart => {
  const box = chart.getBoundingClientRect();
  return [...chart.querySelectorAll(".main-svg text")].filter((text) => {
    const at = text.getBoundingClientRect();
    return at.width && (at.left < box.left - 1 || at.right > box.right + 1
      || at.top < box.top - 1 || at.bottom > box.bottom + 1);
  }).map((text) => text.textContent);
}"""
"""Texts of a chart that reach out of it."""


@pytest.mark.parametrize("width", [1280, 390])
def test_no_chart_is_cut_off(browser: "playwright.Browser", command: Command, width: int) -> None:
    folder = write_run(Path("runs"), "wide", {"mri": 30.0}, network="a_network_of_a_long_name")
    for at in range(12):
        write_run(Path("runs"), f"other{at}", {"mri": 20.0}, network=f"another_long_name_{at}")
    group = "router/shallow_routing_module_of_the_first_level/ultrasound"
    keys = [f"{group}/expert{at}" for at in range(16)]
    lines = [f"step,val/mri/rmse,{','.join(keys)}"]
    lines += [f"{step},{12345.678 + step}{',0.25' * 16}" for step in (1, 200_000)]
    (folder / "metrics.csv").write_text("\n".join(lines) + "\n")
    assert command("dashboard").status == 0
    opened = Opened(browser, Path("runs/dashboard.html").resolve(), width)
    page = opened.page
    page.get_by_role("link", name="wide").click()
    article = page.locator("article:visible")
    charts = [page.locator(".chart.comparison")]
    for name in (group, "val/mri/rmse"):
        article.locator("select").select_option(name)
        charts.append(article.locator(".chart"))
        for chart in charts:
            assert chart.evaluate(_OUTSIDE) == []
            plot = chart.locator(".nsewdrag").bounding_box()
            around = chart.bounding_box()
            assert plot["width"] > 0.6 * around["width"]
            assert plot["height"] > 0.6 * around["height"]
    article.locator("select").select_option(group)
    assert len(article.locator(".legend span").all_inner_texts()) == 16
    opened.check()
