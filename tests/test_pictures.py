"""Pictures of routing: the right colour at the right pixel, at the size of the image."""

import numpy as np

from amir_lightning.pictures import expert_legend, expert_map, outline


def test_expert_map_shows_the_largest_gate_of_each_pixel_without_the_padding() -> None:
    gates = np.zeros((2, 3, 4), dtype=np.float32)
    gates[..., 1] = 0.5
    gates[1, 2] = (0.1, 0.2, 0.3, 0.4)
    picture = expert_map(gates, height=7, width=11, factor=4)
    assert picture.shape == (7, 11, 3)
    colours = expert_map(np.eye(4)[None], 1, 4)[0]
    assert len({tuple(colour) for colour in colours}) == 4
    assert (picture[4:, 8:] == colours[3]).all()
    assert (picture[:4] == colours[1]).all()
    assert (picture[4:, :8] == colours[1]).all()


def test_legend_has_each_colour_of_the_map() -> None:
    colours = expert_map(np.eye(4)[None], 1, 4)[0]
    legend = expert_legend(4)
    for colour in colours:
        assert (legend == colour).all(axis=-1).sum() > 50


def test_an_outline_lies_on_the_border_and_leaves_the_rest() -> None:
    picture = np.full((5, 6, 3), 9, np.uint8)
    labels = np.zeros((5, 6), np.uint8)
    labels[2:, 3:] = 2
    drawn = outline(picture, labels, (230, 159, 0))
    border = (drawn == (230, 159, 0)).all(axis=-1)
    assert np.argwhere(border).tolist() == [[2, 3], [2, 4], [2, 5], [3, 3], [4, 3]]
    assert (drawn[~border] == 9).all()
