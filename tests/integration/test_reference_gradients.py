"""An encoder-decoder model's loss and the gradient of every tensor equal those of transformers."""

import pathlib
import subprocess
import zlib

import jax
import numpy as np
import pytest
import reference_goldens

from m3it_jax import parameter_paths
from m3it_jax.checkpoint_conversion.names import families, mapping
from m3it_jax.training import objectives

STORED = pathlib.Path(__file__).parents[1] / "golden" / "gradients"
SCRIPT = pathlib.Path(__file__).parents[1] / "reference" / "make_gradients.py"


def projected(name: str, gradient: np.ndarray) -> np.ndarray:
    """Returns what tests/reference/make_gradients.py stores of a gradient: norm, product with drawn numbers."""
    flat = gradient.astype(np.float64).ravel()
    return np.array(
        [np.linalg.norm(flat), flat @ np.random.default_rng(zlib.crc32(name.encode())).normal(size=flat.size)]
    )


def training_batch(stored: dict[str, np.ndarray], labels: np.ndarray) -> dict[str, np.ndarray]:
    """Returns rows as the input pipeline lays them out: the prompt, the answer behind it, then padding."""
    batch = {name: np.asarray(array) for name, array in reference_goldens.batch_of(stored).items()}
    width = labels.shape[1]
    for name, empty in {"token_ids": 0, "image_token_index": -1, "segment_ids": 0}.items():
        batch[name] = np.pad(batch[name], ((0, 0), (0, width)), constant_values=empty)
    batch["loss_mask"] = np.zeros(batch["token_ids"].shape, np.float32)
    for row, answer in enumerate(labels):
        answer = answer[answer >= 0]
        begin = int((batch["segment_ids"][row] > 0).sum())
        cells = slice(begin, begin + len(answer))
        batch["token_ids"][row, cells], batch["segment_ids"][row, cells] = answer, 1
        batch["loss_mask"][row, cells] = 1.0
    batch["positions"] = np.tile(np.arange(batch["token_ids"].shape[1], dtype=np.int32), (len(labels), 1))
    return batch | {"source_index": np.zeros(len(labels), np.int32)}


@pytest.mark.parametrize("family", ["blip2_t5", pytest.param("instructblip_t5", marks=pytest.mark.slow)])
def test_loss_and_gradients_equal_those_of_transformers(family: str) -> None:
    with np.load(STORED / f"{family}.npz") as arrays:
        theirs = dict(arrays)
    variant, params = reference_goldens.parameters_of(family)
    assert variant.qformer is not None
    task = objectives.Task(variant, "float32", False, (), 1, theirs["labels"].shape[1])
    batch = training_batch(reference_goldens.golden(family), theirs["labels"])
    objective = objectives.OBJECTIVES["response"]
    model = objective.make_model(task)

    @jax.jit
    def gradients(params, batch):  # dropout off, as there
        return jax.value_and_grad(lambda p: objective.loss(model, p, batch, task=task, rngs=None)[0])(params)

    loss, found = gradients(params, batch)
    assert float(loss) == pytest.approx(float(theirs["loss"]), rel=1e-5)
    leaves = {path: np.asarray(leaf) for path, leaf in parameter_paths.flatten(found).items()}
    ours = mapping.to_hf(families.entries(variant), leaves)
    wanted = {name.removeprefix("gradient/"): pair for name, pair in theirs.items() if name.startswith("gradient/")}
    assert wanted.keys() <= ours.keys() | {"language_model.lm_head.weight"}
    compared = 0
    for name in wanted.keys() & ours.keys():
        least = 1e-2 if name.endswith("key.bias") else 1e-3  # a key's bias has no gradient, only noise
        norm = max(wanted[name][0], least)
        np.testing.assert_allclose(projected(name, ours[name]), wanted[name], rtol=0, atol=3e-5 * norm, err_msg=name)
        compared += 1
    assert compared > 0.9 * len(ours), sorted(ours.keys() - wanted.keys())
    assert {name.split(".")[0] for name in wanted} >= {"vision_model", "qformer", "language_model"}


@pytest.mark.torch
@pytest.mark.slow
def test_transformers_gives_what_is_stored(reference_python, tmp_path) -> None:
    command = [reference_python, str(SCRIPT), str(reference_goldens.STORED), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    for path in STORED.glob("*.npz"):
        with np.load(path) as wanted, np.load(tmp_path / path.name) as found:
            assert wanted.files == found.files
            for name in wanted.files:
                np.testing.assert_allclose(found[name], wanted[name], rtol=1e-4, atol=1e-6, err_msg=name)
