import math

import pytest

from m3it_jax.dataset_building.publishers import coco_files
from m3it_jax.dataset_building.specification import RowError


def test_a_box_takes_every_pixel_that_it_touches() -> None:
    assert coco_files.box({"bbox": [7.5, 9.0, 26.2, 13.2]}) == (7, 9, 34, 23)


@pytest.mark.parametrize(
    ("bbox", "reason"),
    [
        ("0 0 1 1", "wrong-type"),
        ([0, 0, 1], "bad-box"),
        ([0, 0, 1, "1"], "bad-box"),
        ([0, 0, 0, 5], "bad-box"),
        ([0, 0, 5, -1], "bad-box"),
        ([0, 0, math.nan, 1], "bad-box"),
        ([0, 0, 1e308, 1], "bad-box"),
        ([10**400, 0, 1, 1], "bad-box"),
        (None, "missing-field"),
    ],
)
def test_what_is_no_box_is_refused(bbox, reason) -> None:
    with pytest.raises(RowError) as caught:
        coco_files.box({"bbox": bbox})
    assert caught.value.reason == reason


def test_a_picture_lies_in_the_folder_that_its_name_tells() -> None:
    assert coco_files.path_of("COCO_val2014_000000000042.jpg") == "val2014/COCO_val2014_000000000042.jpg"


@pytest.mark.parametrize("name", ["", "42.jpg", "COCO_val2014_42.jpg", "COCO_val2017_000000000042.jpg"])
def test_a_name_that_is_not_of_coco_2014_is_refused(name) -> None:
    with pytest.raises(RowError, match="COCO 2014"):
        coco_files.path_of(name)
