import io

import numpy as np
from PIL import Image

from m3it_jax.checkpoint_conversion.certificate import probes


def test_each_probe_shows_something_and_opens_in_its_mode():
    opened = {name: Image.open(io.BytesIO(data)) for name, data in probes.pictures().items()}
    modes = {"grey": "L", "palette": "P", "opaque RGBA": "RGBA", "black and white": "1"}
    assert {name: image.mode for name, image in opened.items()} == {**dict.fromkeys(opened, "RGB"), **modes}
    assert opened["JPEG"].format == "JPEG" and opened["JPEG"].size == opened["odd size"].size == (317, 213)
    assert min(image.width for image in opened.values()) == 1 < 640 == max(image.width for image in opened.values())
    for name, image in opened.items():
        if name != "one pixel":
            assert 5 < np.asarray(image.convert("L")).std() < 130, name
