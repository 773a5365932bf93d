"""What must be equal whatever a model computes: its tensors, its tokenizer's ids, its prepared pictures."""

import hashlib
import io
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from PIL import Image

from m3it_jax.checkpoint_conversion.certificate import probes
from m3it_jax.checkpoint_conversion.certificate.comparison import NO_NUMBER
from m3it_jax.checkpoint_conversion.certificate.plain import pixels
from m3it_jax.checkpoint_conversion.certificate.plain.text import PlainTokenizer
from m3it_jax.checkpoint_conversion.files import finite, sources
from m3it_jax.checkpoint_conversion.folders.planning import Plan
from m3it_jax.checkpoint_conversion.names import mapping
from m3it_jax.checkpoint_conversion.names.mapping import Entry
from m3it_jax.tokenizer import probe_texts

# In steps of a pixel (1/255): the project's goal is at most 1, and 99.5 % of the values identical.
PIXEL_STEPS, IDENTICAL_SHARE = 1.0, 0.995
_SAME_STEP = 0.01  # float32 beside float64

_NAMED = 5  # differences that are listed; they are all counted


def compare_tensors(
    plan: Plan,
    params: Mapping[str, np.ndarray],
    *,
    carried: Mapping[str, np.ndarray],
    on_tensor: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Returns what came of mapping our parameters back and comparing each tensor of HF_DIR, bit for bit.

    Args:
      plan: What an import of HF_DIR reads and where it goes.
      params: Our parameters by path.
      carried: The tensors that our folder holds for the way back, by their names in HF_DIR.
      on_tensor: Is called after each tensor.
    """
    digest, unequal, broken = hashlib.sha256(), [], []
    result: dict[str, Any] = {"num": len(plan.tensors), "num_carried": 0, "num_copies": 0, "unused": {}}
    for entry in plan.entries:
        wanted = sources.whole(plan.tensors[entry.key])
        digest.update(f"{entry.key} {wanted.dtype} {wanted.shape}".encode())
        digest.update(wanted.reshape(-1).view(np.uint8).data)
        held = _mapped_back(entry, params)
        unequal += _difference(entry.key, wanted, held)
        broken += _not_finite(entry.key, hf_dir=wanted, checkpoint=held)
        on_tensor()
    for key, row in plan.unused.items():
        wanted = sources.whole(plan.tensors[key])
        if row.copy_of:
            result["num_copies"] += 1
            unequal += _difference(key, wanted, sources.whole(plan.tensors[mapping.original_of(key, row)]))
        elif key in carried:
            result["num_carried"] += 1
            unequal += _difference(key, wanted, carried[key])
        else:
            result["unused"][key] = row.reason
        on_tensor()
    result |= {"num_unequal": len(unequal), "differences": unequal[:_NAMED], "sha256": digest.hexdigest()}
    result["not_finite"] = broken[:_NAMED]
    return {"ok": not unequal and not broken, **result}


def _not_finite(key: str, **sides: np.ndarray) -> list[dict[str, Any]]:
    """Returns where a tensor of either side first holds a number that is not finite, or nothing."""
    found = []
    for side, array in sides.items():
        place = finite.first_not_finite(array)
        if place is not None:
            found.append({"tensor": key, "index": list(place), "side": side, "value": _number(array[place])})
    return found


def _mapped_back(entry: Entry, params: Mapping[str, np.ndarray]) -> np.ndarray:
    """Returns the tensor of one key as our parameters hold it."""
    slots = [params[path] if entry.layer is None else params[path][entry.layer] for path in entry.paths]
    pieces = [entry.piece_to_hf(np.asarray(slot)) for slot in slots]
    return (np.concatenate(pieces) if len(pieces) > 1 else pieces[0]).reshape(entry.shape)


def _difference(key: str, wanted: np.ndarray, held: np.ndarray) -> list[dict[str, Any]]:
    """Returns where two tensors differ first, or nothing; bits are compared, or values if the types differ."""
    if wanted.shape != held.shape:
        return [{"tensor": key, "hf_dir": f"shape {wanted.shape}", "checkpoint": f"shape {held.shape}"}]
    if wanted.dtype == held.dtype:
        bits = np.dtype(f"u{wanted.dtype.itemsize}")
        unequal = np.ascontiguousarray(wanted).view(bits) != np.ascontiguousarray(held).view(bits)
    else:
        unequal = wanted.astype(np.float64) != held.astype(np.float64)
    if not unequal.any():
        return []
    place = np.unravel_index(np.argmax(unequal), unequal.shape)
    return [
        {
            "tensor": key,
            "index": [int(index) for index in place],
            "num_values": int(unequal.sum()),
            "hf_dir": _number(wanted[place]),
            "checkpoint": _number(held[place]),
        }
    ]


def _number(value: Any) -> float | str:
    """Returns a value for JSON, which has neither infinity nor "not a number"."""
    return float(value) if np.isfinite(value) else str(value)


def compare_texts(reference: PlainTokenizer, ours: Callable[[str], list[int]]) -> dict[str, Any]:
    """Returns whether our tokenizer gives HF_DIR's ids for every probe text, and where it first does not.

    Some vocabularies read the spelling `</s>` in a text as the end id. Ours must not, and where the reference does, all
    that is asked of it is that it has no special id either.
    """
    unequal, num_kept_apart = [], 0
    for text in probe_texts.TEXTS:
        wanted, made = reference.encode(text), ours(text)
        if reference.special_ids.isdisjoint(wanted):
            equal = wanted == made
        else:
            equal = reference.special_ids.isdisjoint(made)
            num_kept_apart += 1
        if not equal:
            unequal.append({"text": text, "hf_dir": wanted, "checkpoint": made})
    return {
        "ok": not unequal,
        "num_texts": len(probe_texts.TEXTS),
        "num_unequal": len(unequal),
        "num_special_spellings": num_kept_apart,
        "first_difference": unequal[0] if unequal else None,
    }


def compare_pictures(settings: Mapping[str, Any], prepare: Callable[[bytes], np.ndarray]) -> dict[str, Any]:
    """Returns how far our prepared probe pictures are from those that HF_DIR's processor settings ask for.

    Args:
      settings: Of the image processor.
      prepare: Encoded picture -> normalised float32 [3, h, w] as our model takes it.
    """
    rows = {}
    for name, data in probes.pictures().items():
        wanted = pixels.prepare(Image.open(io.BytesIO(data)), settings)
        made = prepare(data)
        if made.shape != wanted.shape:
            steps, identical = NO_NUMBER, 0.0
        else:
            apart = np.abs(made - wanted) * np.array(settings["image_std"])[:, None, None] * 255
            steps, identical = float(apart.max()), float((apart < _SAME_STEP).mean())
        rows[name] = {"max_steps": round(steps, 4), "identical": round(identical, 5)}
    worst = max(rows, key=lambda name: rows[name]["max_steps"])
    return {
        "ok": all(row["max_steps"] <= PIXEL_STEPS and row["identical"] >= IDENTICAL_SHARE for row in rows.values()),
        "max_steps": rows[worst]["max_steps"],
        "identical": min(row["identical"] for row in rows.values()),
        "worst": worst,
        "pictures": rows,
    }
