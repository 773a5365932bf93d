import numpy as np
import pytest

from m3it_jax.dataset_building.media import boxes

GREY = np.full((64, 64, 3), 100, np.uint8)


def test_only_the_edge_of_the_box_changes():
    marked = boxes.draw_box(GREY, (10, 20, 30, 50))
    changed = (marked != GREY).any(-1)
    wanted = np.zeros((64, 64), bool)
    wanted[20:50, 10:30] = True
    wanted[21:49, 11:29] = False
    np.testing.assert_array_equal(changed, wanted)
    assert (marked[changed] == boxes.RED).all()


def test_the_picture_given_stays_as_it_is():
    boxes.draw_box(GREY, (0, 0, 64, 64))
    assert (GREY == 100).all()


@pytest.mark.parametrize(("side", "width"), [(16, 1), (64, 1), (448, 7)])
def test_the_line_grows_with_the_picture(side, width):
    assert boxes.line_width(side, side // 2) == width


def test_what_lies_outside_is_cut():
    marked = boxes.draw_box(GREY, (-5, -5, 10, 10))
    np.testing.assert_array_equal(marked, boxes.draw_box(GREY, (0, 0, 10, 10)))


@pytest.mark.parametrize("box", [(5, 5, 5, 9), (9, 5, 5, 9), (70, 0, 80, 9), (0, -9, 9, 0)])
def test_a_box_without_a_pixel_is_refused(box):
    with pytest.raises(ValueError, match="no pixel"):
        boxes.draw_box(GREY, box)


def test_a_box_thinner_than_its_line_is_filled():
    assert (boxes.draw_box(GREY, (3, 3, 4, 9))[3:9, 3] == boxes.RED).all()
