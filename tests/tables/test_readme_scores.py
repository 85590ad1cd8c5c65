"""The scores in README are those of the table of the study."""

import csv
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TASKS = ("mri", "ct", "pet", "average")


def test_readme_has_the_scores_of_table_2() -> None:
    with (ROOT / "experiments/table2/results.csv").open(newline="") as file:
        psnr = [row for row in csv.DictReader(file) if row["score"] == "psnr"]
    made = {(row["method"], row["task"]): row for row in psnr}
    page = (ROOT / "README.md").read_text()
    header = re.escape("| method | MRI | CT | PET | mean | minus AMIR |")
    found = re.search(rf"^{header}\n\|[-:| ]+\n((?:\|.*\n)+)", page, re.MULTILINE)
    assert found is not None
    shown = [[cell.strip() for cell in line.split("|")[1:-1]] for line in found[1].splitlines()]
    assert {row[0] for row in shown} == {method for method, _ in made}
    for method, *scores, difference in shown:
        for task, cell in zip(TASKS, scores, strict=True):
            row = made[method, task]
            assert cell == f"{float(row['value']):.2f} ± {float(row['spread']):.2f}"
        row = made[method, "average"]
        ends = [row[name] for name in ("minus_amir", "minus_amir_low", "minus_amir_high")]
        value, low, high = (f"{float(end):+.2f}" if end else "" for end in ends)
        expected = f"{value} ({low} to {high})" if value else ""
        assert difference == expected
    means = [float(row[4].split()[0]) for row in shown]
    assert means == sorted(means, reverse=True)
