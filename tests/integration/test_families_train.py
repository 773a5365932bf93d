"""Rows, model and loop of every family that is trained: three updates with its own tokenizer, each figure checked."""

import dataclasses
import os
import pathlib

import jax
import numpy as np
import pytest
import small_models

from m3it_jax import parameter_paths, prompts, sharding, tokenizer
from m3it_jax.config import DataConfig, Experiment, MeshConfig, ModelConfig, OptimizerConfig
from m3it_jax.models import variants, vlm
from m3it_jax.training import loop, run_folder, setup

HF = pathlib.Path(__file__).parents[1] / "golden" / "hf"
# Family -> the small model of that kind, the folder with its tokenizer, the row of `prompts.FORMATS`.
FAMILIES = {
    "blip2": ("blip2_opt", "blip2_opt"),
    "instructblip": ("instructblip", "instructblip_llama"),
    "minigpt4": ("ying_vlm", "ying_vlm"),
    "llava": ("llava", "llava"),
    "blip2_t5": ("blip2_t5", "blip2_t5"),
    "instructblip_t5": ("blip2_t5", "instructblip_t5"),
}


def experiment(family: str, data: pathlib.Path, tmp_path: pathlib.Path) -> Experiment:
    small, source = FAMILIES[family]
    path = HF / source / "tokenizer.json"
    variant = small_models.SMALL[small]
    sizes = {"vocab_size": tokenizer.Tokenizer.load(path).vocab_size + 3, "max_len": 512}
    variant = dataclasses.replace(variant, decoder=dataclasses.replace(variant.decoder, **sizes), prompt=family)
    if prompts.FORMATS[family].qformer_reads_prompt:
        reader = dataclasses.replace(variant.qformer, text_vocab_size=153, text_max_len=24)
        variant = dataclasses.replace(variant, qformer=reader)
    if variant.qformer is not None:  # so that the first loss can be told from the model alone
        variant = dataclasses.replace(variant, qformer=dataclasses.replace(variant.qformer, dropout_rate=0.0))
    variants.write(variant, tmp_path)
    return Experiment(
        num_steps=3,
        model=ModelConfig(variant=str(tmp_path)),
        data=DataConfig(
            path=str(data),
            tokenizer=str(path),
            global_batch_size=8,
            max_images=16,
            max_text_len=240,
            max_response_len=30,
            mixture={"ones": 1.0} if prompts.FORMATS[family].qformer_reads_prompt else {"pairs": 1.0},
        ),
        mesh=MeshConfig(data=1, fsdp=1, tensor=1),
        trainable=((r".*", True),),
        optimizer=OptimizerConfig(learning_rate=1e-3, warmup_steps=1),
    )


def loss_of(prepared: setup.Setup, params, batch) -> float:
    """Mean of -log p over exactly the supervised tokens, in float64 from the scores of whole rows, without dropout."""
    model = vlm.make_vlm(prepared.task.variant)
    if prepared.task.variant.is_encoder_decoder:
        return loss_of_answers(prepared, params, batch)
    logits = np.asarray(jax.jit(model.apply)({"params": params}, dict(batch)), np.float64)
    log_p = logits - np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1, keepdims=True))
    log_p -= logits.max(-1, keepdims=True)
    places = np.argwhere(batch["loss_mask"] > 0)
    return float(np.mean([-log_p[row, place - 1, batch["token_ids"][row, place]] for row, place in places]))


def loss_of_answers(prepared: setup.Setup, params, batch) -> float:
    """The same of rows whose prompt alone is read and whose answer is written, one row after another."""
    apply = jax.jit(vlm.make_vlm(prepared.task.variant).apply)
    start, width, losses = prepared.task.variant.decoder.start_id, int(batch["loss_mask"].sum(axis=1).max()), []
    answers = [row[mask > 0] for row, mask in zip(batch["token_ids"], batch["loss_mask"], strict=True)]
    begins = [[start, *answer[:-1], *[0] * (width - len(answer))] for answer in answers]
    read = dict(batch) | {"decoder_ids": np.array(begins, np.int32)}
    read["segment_ids"] = batch["segment_ids"] * (batch["loss_mask"] == 0)
    logits = np.asarray(apply({"params": params}, read), np.float64)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    for row, answer in enumerate(answers):
        losses += [-log_p[row, place, token] for place, token in enumerate(answer)]
    return float(np.mean(losses))


# Each takes half a minute, so one of either kind of language model is in the ordinary series. Loss and gradients of
# every family are compared elsewhere: test_packed_equals_single.py, test_reference_gradients.py.
SERIES = FAMILIES if "M3IT_LONG" in os.environ else ("instructblip", "blip2_t5")


@pytest.mark.slow
@pytest.mark.parametrize("family", SERIES)
def test_a_family_trains(family, folder, tmp_path, monkeypatch):
    make = sharding.make_mesh
    monkeypatch.setattr(sharding, "make_mesh", lambda **sizes: make(**{"devices": jax.devices()[:1]} | sizes))
    config = experiment(family, folder.path, tmp_path)
    prepared = setup.prepare(config)
    assert prepared.layout.format == prompts.FORMATS[family]
    batch = prepared.pipeline.batch(0)
    num_images = len(batch["images"])
    shown = batch["image_token_index"]
    assert (shown >= 0).sum() == num_images * prepared.layout.picture_len
    assert ("text_ids" in batch) == prepared.layout.format.qformer_reads_prompt
    if "text_ids" in batch:
        assert batch["text_ids"].shape == batch["text_mask"].shape == (num_images, 24)
        assert (batch["text_ids"][:, 0] == 2).all() and batch["text_mask"][:, :3].all()  # [CLS] and words
    first = np.argmax(shown >= 0, axis=1)
    begins = (batch["token_ids"][:, 0] == prepared.layout.bos_id) & (shown[:, 0] < 0)
    assert begins.all() == prepared.layout.format.has_pictures_inside and (first > 0).all() == begins.all()

    with jax.set_mesh(prepared.mesh):
        state = setup.initial_state(config, prepared)
        before = {path: np.asarray(leaf) for path, leaf in parameter_paths.flatten(state.params).items()}
        wanted = loss_of(prepared, state.params, batch)
        train_step = jax.jit(loop.make_train_step(prepared, config.seed), donate_argnums=0)
        losses, counts = [], []
        for _ in range(3):  # the same rows again and again: they are learned
            state, sums = train_step(state, batch)
            losses.append(float(sums["train/loss"][0] / sums["train/loss"][1]))
            counts.append(float(sums["train/loss"][1]))
    # The first loss is that of the full scores of the fresh model, over the tokens that the rows say; it is learned.
    assert losses[0] == pytest.approx(wanted, rel=1e-4)
    assert counts == [batch["loss_mask"].sum()] * 3
    # The rate of step 0 is zero, so the second loss is the first.
    assert np.isfinite(losses).all() and losses[2] < losses[0] and losses[1] == pytest.approx(losses[0], rel=1e-6)
    assert int(state.step) == 3
    still = {path for path, leaf in parameter_paths.flatten(state.params).items() if np.array_equal(leaf, before[path])}
    # Softmax takes a shift of all scores away, so a key's bias has no gradient; all else is learned in each family.
    assert not {path for path in still if not path.endswith("key/bias")}

    run_folder.write_env(tmp_path, prepared.tokenizer_path)
    assert tokenizer.Tokenizer.load(tokenizer.find(tmp_path)).fingerprint == prepared.tokenizer.fingerprint
    assert tokenizer.find_qformer(tokenizer.find(tmp_path)).is_file() == ("text_ids" in batch)
