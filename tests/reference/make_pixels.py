"""What transformers' image processors make of probe pictures -> tests/golden/pixels.npz.

Run in the reference environment with torchvision beside torch:
  python tests/reference/make_pixels.py

Both of its backends, Pillow and torchvision, are stored, as uint8 before scaling; and the means and deviations. Pillow
13 resizes pictures that are far taller than wide in another order than 12: up to a fifth of their values differ by one.
So what its releases give is stored apart; run the script with each.
"""

import pathlib
import sys

import numpy as np
import PIL
import torchvision
import transformers
from transformers.models.blip.image_processing_blip import BlipImageProcessor
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil
from transformers.models.clip.image_processing_clip import CLIPImageProcessor
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
import probe_pictures  # noqa: E402

PROCESSORS = {
    "stretch": {"pillow{major}": BlipImageProcessorPil, "torchvision": BlipImageProcessor},
    "crop": {"pillow{major}": CLIPImageProcessorPil, "torchvision": CLIPImageProcessor},
}


def settings(fit: str, side: int) -> dict:
    """Returns the processor's sizes as the hub's preprocessor_config.json of the families names them."""
    edges = {"height": side, "width": side}
    return {"size": edges} if fit == "stretch" else {"size": {"shortest_edge": side}, "crop_size": edges}


def main() -> None:
    """Writes the file."""
    path = ROOT / "golden" / "pixels.npz"
    arrays = dict(np.load(path)) if path.exists() else {}
    major = PIL.__version__.split(".")[0]
    for fit, backends in PROCESSORS.items():
        for backend, kind in backends.items():
            backend = backend.format(major=major)
            whole = kind()
            arrays[f"{fit}/{backend}/mean"] = np.array(whole.image_mean)
            arrays[f"{fit}/{backend}/std"] = np.array(whole.image_std)
            for name, picture in probe_pictures.make().items():
                processor = kind(**settings(fit, probe_pictures.SIDE), do_rescale=False, do_normalize=False)
                pixels = np.asarray(processor(picture, return_tensors="np")["pixel_values"][0])
                arrays[f"{fit}/{backend}/{name}"] = pixels.transpose(1, 2, 0).round().astype(np.uint8)
    arrays["versions"] = np.array([transformers.__version__, torchvision.__version__])
    np.savez_compressed(path, **arrays)


if __name__ == "__main__":
    main()
