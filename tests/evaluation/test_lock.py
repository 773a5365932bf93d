"""The identity changes with everything that an answer depends on, and with nothing else."""

import jax.numpy as jnp
import numpy as np
import pytest

from m3it_jax.evaluation import lock, tasks


def params() -> dict:
    return {"vit": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3)}, "decoder": {"scale": np.ones(())}}


def test_hash_does_not_depend_on_order_or_on_where_the_arrays_live() -> None:
    tree = params()
    turned = {"decoder": tree["decoder"], "vit": {"kernel": jnp.asarray(tree["vit"]["kernel"])}}
    assert lock.params_hash(tree) == lock.params_hash(turned)
    strided = {**tree, "vit": {"kernel": np.asfortranarray(tree["vit"]["kernel"])}}
    assert lock.params_hash(strided) == lock.params_hash(tree)


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: tree["vit"].update(kernel=tree["vit"]["kernel"] + 1e-6),
        lambda tree: tree["vit"].update(kernel=tree["vit"]["kernel"].reshape(3, 2)),
        lambda tree: tree["vit"].update(kernel=tree["vit"]["kernel"].astype(np.float16)),
        lambda tree: tree["vit"].update(bias=tree["vit"].pop("kernel")),
        lambda tree: tree.pop("decoder"),
        lambda tree: tree["decoder"].update(scale=jnp.zeros((), jnp.bfloat16)),
    ],
)
def test_hash_sees_every_change(change) -> None:
    changed = params()
    change(changed)
    assert lock.params_hash(changed) != lock.params_hash(params())


def test_identity_names_what_answers_depend_on(folder) -> None:
    def identity(protocol=tasks.Protocol(), step=1, tokenizer="t"):  # noqa: B008
        return lock.identity(folder, protocol, params=params(), step=step, tokenizer=tokenizer)

    first = identity()
    assert first == identity()
    assert {"jax", "flax", "numpy"} <= set(first["packages"])
    others = [
        identity(step=2),
        identity(tokenizer="u"),
        identity(tasks.Protocol(max_new_tokens=8)),
        identity(tasks.Protocol(split="validation")),
        identity(tasks.Protocol(seed=1)),
    ]
    assert all(other != first for other in others)
