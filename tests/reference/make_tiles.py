"""How transformers' processor of its InternVL models cuts pictures into tiles -> tests/golden/tiles.npz.

Run in the reference environment with torchvision beside torch:
  python tests/reference/make_tiles.py

The Pillow backend is stored, as uint8 before scaling, with the mode changes of the processor itself; and the grids of
many sizes. Pillow 12 and 13 differ on tall pictures, see make_pixels.py; run the script with each.
"""

import itertools
import pathlib
import sys

import numpy as np
import PIL
import transformers
from transformers.models.got_ocr2 import image_processing_pil_got_ocr2 as reference

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
import probe_pictures  # noqa: E402

SIDES, MOST = (28, 64, 448), (1, 2, 3, 4, 6, 12, 40)
LENGTHS = (1, 13, 27, 28, 29, 40, 56, 64, 84, 100, 128, 300, 448, 640, 1000, 2500)


def main() -> None:
    """Writes the file."""
    path = ROOT / "golden" / "tiles.npz"
    arrays = dict(np.load(path)) if path.exists() else {}
    pictures, major = probe_pictures.make(), PIL.__version__.split(".")[0]
    edges = {"height": probe_pictures.SIDE, "width": probe_pictures.SIDE}
    for name, most in probe_pictures.TILED.items():
        processor = reference.GotOcr2ImageProcessorPil(
            size=edges, crop_to_patches=True, max_patches=most, do_rescale=False, do_normalize=False
        )
        pixels = np.asarray(processor(pictures[name], return_tensors="np")["pixel_values"])
        arrays[f"{name}/pillow{major}"] = pixels.transpose(0, 2, 3, 1).round().astype(np.uint8)
    grids = [
        (height, width, side, most, *reference.get_optimal_tiled_canvas((height, width), (side, side), 1, most))
        for side, most, height, width in itertools.product(SIDES, MOST, LENGTHS, LENGTHS)
    ]
    arrays["grids"] = np.array(grids, np.uint16)
    arrays["versions"] = np.array([transformers.__version__])
    np.savez_compressed(path, **arrays)


if __name__ == "__main__":
    main()
