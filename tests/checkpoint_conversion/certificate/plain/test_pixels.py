"""Pictures as Pillow prepares them by the processor's JSON, beside what the processors of `transformers` gave."""

import json
import pathlib

import numpy as np
import PIL
import pytest
from PIL import Image

from m3it_jax import errors
from m3it_jax.checkpoint_conversion.certificate.plain import pixels

HF = pathlib.Path(__file__).parents[3] / "golden" / "hf"


@pytest.mark.parametrize("family", ["blip2_opt", "instructblip_t5", "llava"])
def test_a_processors_json_is_followed(family):
    golden = np.load(HF / family / "golden.npz")
    settings = pixels.read_settings(HF / family)
    for number, wanted in enumerate(golden["pixel_values"]):
        made = pixels.prepare(Image.fromarray(golden[f"picture/{number}"]), settings)
        steps = np.abs((made - wanted) * np.array(settings["image_std"])[:, None, None] * 255)
        # What is stored was made with Pillow 13, which resizes tall pictures in a way that differs from Pillow 12's.
        is_same = PIL.__version__ >= "13" or family == "llava" or len(golden[f"picture/{number}"]) < 40
        assert made.shape == wanted.shape and steps.max() < (0.001 if is_same else 12)


def test_other_values_do_something_else():
    image = Image.fromarray(np.arange(60 * 40 * 3, dtype=np.uint8).reshape(60, 40, 3))
    plain = {"size": {"shortest_edge": 20}, "image_mean": [0.0] * 3, "image_std": [1.0] * 3}
    whole = pixels.prepare(image, plain)
    assert whole.shape == (3, 30, 20) and 0.0 <= whole.min() and whole.max() <= 1.0
    cut = pixels.prepare(image, {**plain, "do_center_crop": True, "crop_size": 20})
    np.testing.assert_array_equal(cut, whole[:, 5:25])
    assert np.abs(pixels.prepare(image, {**plain, "resample": 0}) - whole).max() > 0.01
    np.testing.assert_allclose(pixels.prepare(image, {**plain, "image_mean": [0.5] * 3}), whole - 0.5)
    np.testing.assert_allclose(pixels.prepare(image, {**plain, "do_rescale": False}), whole * 255)
    assert pixels.prepare(image, {**plain, "size": {"height": 7, "width": 9}}).shape == (3, 7, 9)


def test_settings_are_found_where_each_version_puts_them(tmp_path):
    assert pixels.read_settings(tmp_path) is None
    values = {"size": 8, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": values}))
    assert pixels.read_settings(tmp_path) == values
    (tmp_path / "processor_config.json").unlink()
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"size": 8, "image_mean": [0.5] * 3}))
    with pytest.raises(errors.UserError, match="preprocessor_config.json: has no image_std"):
        pixels.read_settings(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**values, "do_pad": True}))
    with pytest.raises(errors.UserError, match="do_pad=True"):
        pixels.read_settings(tmp_path)


@pytest.mark.parametrize("size", [(40, 60), (61, 40)])
def test_what_settings_leave_out_is_done_as_the_library_does_it(size):
    """A division by 255, the mean and the deviation; no crop; and a crop takes the middle of either side."""
    values = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    image, mean, std = Image.fromarray(values), [0.1, 0.2, 0.3], [0.5, 0.25, 2.0]
    plain = {"size": {"height": size[1], "width": size[0]}, "image_mean": mean, "image_std": std}
    wanted = ((values / 255 - mean) / std).transpose(2, 0, 1)
    np.testing.assert_allclose(pixels.prepare(image, plain), wanted)
    cut = pixels.prepare(image, {**plain, "do_center_crop": True, "crop_size": {"height": 20, "width": 30}})
    top, left = (size[1] - 20) // 2, (size[0] - 30) // 2
    np.testing.assert_allclose(cut, wanted[:, top : top + 20, left : left + 30])
    raw = {**plain, "do_rescale": False, "do_normalize": False, "do_resize": False}
    np.testing.assert_array_equal(pixels.prepare(image, raw), values.transpose(2, 0, 1))
