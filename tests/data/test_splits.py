from pathlib import Path

import pytest

from amir_lightning.data.splits import (
    SPLITS,
    assert_disjoint,
    assign_from_file,
    read_split_file,
    split_kind,
    split_patients,
    split_slices,
)
from amir_lightning.errors import InputError

FRACTIONS = {"train": 0.7, "val": 0.15, "test": 0.15}


def keys(count: int) -> list[str]:
    return [f"IXI{number:03d}" for number in range(count)]


def sizes(assigned: dict[str, str]) -> list[int]:
    return [list(assigned.values()).count(split) for split in SPLITS]


def test_paper_counts() -> None:
    counts = {"train": 405, "val": 59, "test": 114}
    assert sizes(split_patients(keys(578), counts, seed=0)) == [405, 59, 114]


@pytest.mark.parametrize(
    ("patients", "expected"), [(3, [1, 1, 1]), (4, [2, 1, 1]), (10, [7, 2, 1]), (100, [70, 15, 15])]
)
def test_fractions_give_each_split_a_patient(patients: int, expected: list[int]) -> None:
    assert sizes(split_patients(keys(patients), FRACTIONS, seed=0)) == expected


def test_the_assignment_depends_on_keys_and_seed_alone() -> None:
    forward = split_patients(keys(50), FRACTIONS, seed=1)
    assert split_patients(reversed(keys(50)), FRACTIONS, seed=1) == forward
    assert split_patients(keys(50), FRACTIONS, seed=2) != forward
    assert set(forward) == set(keys(50))


def test_a_split_may_have_no_share() -> None:
    assigned = split_patients(keys(2), {"train": 0.5, "val": 0, "test": 0.5}, seed=0)
    assert sizes(assigned) == [1, 0, 1]
    assert split_kind(2, {"train": 0.5, "val": 0, "test": 0.5}) == "patients"
    assert split_kind(2, FRACTIONS) == "slice blocks"


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"train": 8, "val": 1, "test": 1}, "10 patients but 12"),
        ({"train": 0.7, "val": 0.2, "test": 0.2}, r"adds up to 1\.1"),
        ({"train": 1.5, "val": -0.5, "test": 0}, "share >= 0"),
        ({"train": 0, "val": 0, "test": 0}, "share >= 0"),
        ({"train": 0.5, "dev": 0.5}, "dev"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(wrong: dict[str, float], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        split_patients(keys(12), wrong, seed=0)


@pytest.mark.parametrize("num_slices", [3, 4, 5, 7, 8, 9, 16, 44, 180])
def test_blocks_are_apart_by_the_gap(num_slices: int) -> None:
    blocks = split_slices(num_slices, FRACTIONS, gap=2)
    assert len(blocks) == num_slices
    assert set(SPLITS) <= set(blocks)
    expected_gap = {3: 0, 4: 0}.get(num_slices, 2 if num_slices >= 16 else 1)
    last: dict[str, int] = {}
    changes = 0
    for index, split in enumerate(blocks):
        if split is None:
            continue
        others = [index - at for name, at in last.items() if name != split]
        assert all(distance > expected_gap for distance in others)
        changes += bool(last) and max(last, key=lambda name: last[name]) != split
        last[split] = index
    assert changes == (3 if num_slices >= 8 else 2), "one block each, training on both sides"
    assert blocks[0] == "train"


def test_too_few_slices_for_blocks() -> None:
    with pytest.raises(InputError, match="2 usable slices"):
        split_slices(2, FRACTIONS, gap=2)


def test_a_patient_in_two_splits_is_named() -> None:
    assert_disjoint([("A", "train"), ("B", "val"), ("A", "train")])
    with pytest.raises(InputError, match="patient A is in two splits, train and test"):
        assert_disjoint([("A", "train"), ("B", "val"), ("A", "test")])


def test_split_file(tmp_path: Path) -> None:
    path = tmp_path / "splits.csv"
    path.write_text("\ufeffpatient,split\nL506, test\nL067,train\nL096,validation\nL067,train\n")
    named = {"L506": "test", "L067": "train", "L096": "val"}
    assert read_split_file(path) == named
    assert assign_from_file(["L506", "L067"], path) == {"L506": "test", "L067": "train"}
    with pytest.raises(InputError, match=r"does not name patient L999 \(1 of 2"):
        assign_from_file(["L506", "L999"], path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("patient,split\nA,train\nA,test\n", "patient A is in two splits"),
        ("patient,split\nA,holdout\n", "'holdout'; choose from train, val, test"),
        ("name,split\nA,train\n", "patient,split"),
        ("patient,split\nA\n", "patient,split"),
    ],
)
def test_bad_split_files(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "splits.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=reason):
        read_split_file(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_split_file(tmp_path / "absent.csv")
