import itertools
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_assistant

import m3it_jax
from m3it_jax import errors, parameter_paths
from m3it_jax.generation import pictures, request
from m3it_jax.generation.assistant import Assistant
from m3it_jax.generation.sampler import Sampler
from m3it_jax.models import variants


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    return tiny_assistant.write_run(tmp_path_factory.mktemp("quickstart") / "stage2")


@pytest.fixture
def copy(run_folder, tmp_path):
    return shutil.copytree(run_folder, tmp_path / "run")


def test_every_path_to_a_checkpoint_gives_the_model_that_was_saved(run_folder):
    expected = tiny_assistant.make()
    for path in (run_folder, str(run_folder.parent), run_folder / "checkpoints" / "7"):
        loaded = m3it_jax.load(path)
        assert loaded.step == 7
        picture = [tiny_assistant.png(1)]
        np.testing.assert_allclose(loaded.logits(picture, [1, 9]), expected.logits(picture, [1, 9]), atol=1e-5)


def test_answers_come_in_the_order_of_the_requests_and_as_they_are_finished():
    assistant = tiny_assistant.make(max_rows=2)
    requests = tiny_assistant.mixed_requests(max_new_tokens=4)
    streamed = list(assistant.stream_batch(requests))
    assert sorted(number for number, _ in streamed) == list(range(len(requests)))
    assert [number for number, _ in streamed] != list(range(len(requests)))
    assert assistant.generate_batch(requests) == [answer for _, answer in sorted(streamed)]
    assert assistant.generate_batch([]) == []


def test_an_answer_ends_at_the_newline():
    assistant = tiny_assistant.make()
    tokenizer = assistant.sampler.tokenizer
    assert assistant.text([*tokenizer.encode("blue\nred"), tokenizer.eos_id]) == "blue"


def test_a_stream_gives_the_pieces_of_the_same_answer():
    assistant, asked = tiny_assistant.make(), tiny_assistant.mixed_requests(max_new_tokens=12)[1]
    pieces = list(assistant.stream(**asked))
    assert len(pieces) > 1
    assert "".join(pieces).strip() == assistant.generate(**asked)
    with pytest.raises(errors.ConfigError, match="num_beams=2"):
        assistant.stream("What?", num_beams=2)


def test_an_answer_ends_before_a_stop_text_of_several_tokens():
    assistant, asked = tiny_assistant.make(), tiny_assistant.mixed_requests(max_new_tokens=12)[1]
    whole = assistant.generate(**asked)
    [ids] = [ids for _, ids in assistant.sampler.answers([prepared(assistant, asked)])]
    spelled = [assistant.sampler.tokenizer.token_bytes(index) for index in ids]
    both = next(pair for pair in itertools.pairwise(spelled) if all(pair) and b"".join(pair).isascii())
    stop = (both[0][-1:] + both[1][:2]).decode()  # begins in one token and ends in the next
    cut = whole[: whole.find(stop)].strip()
    assert stop in whole and cut != whole
    assert assistant.generate(**asked, stop=[stop]) == cut
    assert "".join(assistant.stream(**asked, stop=[stop])).strip() == cut
    [answer] = [ids for _, ids in assistant.sampler.answers([prepared(assistant, asked, stop=[stop])])]
    assert len(answer) < 12  # the device ended it; nothing was made only to be cut off
    assert stop not in assistant.generate(**asked, stop=[stop], num_beams=2)


def prepared(assistant, asked, **sampling):
    return assistant.sampler.prepare(request.Request.of({**asked, **sampling}))


def test_an_unknown_setting_is_refused():
    with pytest.raises(errors.ConfigError, match="max_tokens"):
        tiny_assistant.make().generate("What?", max_tokens=3)


def test_a_folder_without_a_checkpoint_is_refused(tmp_path):
    with pytest.raises(errors.UserError, match="no checkpoint here"):
        m3it_jax.load(tmp_path)


def test_a_model_of_another_shape_is_refused(copy):
    config = json.loads((copy / "config.json").read_text())
    config["model"]["variant"] = "mini"
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(errors.UserError, match=r"parameter \S+ has shape .* the model needs"):
        m3it_jax.load(copy)


def test_spare_rows_behind_the_vocabulary_are_chosen_of_imported_weights_alone(copy):
    """The reference of imported weights may choose one; what was trained here never saw such an id."""
    own = m3it_jax.load(copy).sampler
    assert own.num_ids == own.tokenizer.vocab_size < 2560
    variants.write(variants.VARIANTS["tiny"], copy)
    config = json.loads((copy / "config.json").read_text())
    config["model"]["variant"] = "imported"
    (copy / "config.json").write_text(json.dumps(config))
    assert m3it_jax.load(copy).sampler.num_ids == 2560


def test_an_unknown_variant_is_refused(copy):
    (copy / "config.json").write_text('{"model": {"variant": "huge"}}')
    with pytest.raises(errors.UserError, match="'huge' is not one of tiny, mini"):
        m3it_jax.load(copy)


def test_a_tokenizer_that_is_missing_or_too_large_is_refused(copy):
    tiny_assistant.write_tokenizer(copy / "tokenizer.model", vocab_size=4_000)
    with pytest.raises(errors.UserError, match=r"pieces, the model of \S+ has room for 2560"):
        m3it_jax.load(copy)
    (copy / "tokenizer.model").unlink()
    with pytest.raises(errors.UserError, match="tokenizer.model"):
        m3it_jax.load(copy)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"variant": ["tiny"]}, r"model.variant=\['tiny'\] is not one of"),
        ({"variant": "tiny", "compute_dtype": "foo"}, "model.compute_dtype='foo' must be one of float32, bfloat16"),
        ({"variant": "tiny", "compute_dtype": ["float32"]}, "model.compute_dtype="),
    ],
)
def test_a_damaged_model_section_is_told(copy, model, message):
    (copy / "config.json").write_text(json.dumps({"model": model}))
    with pytest.raises(errors.UserError, match=message):
        m3it_jax.load(copy)


def test_parameters_without_their_description_are_told(copy):
    for path in (copy / "checkpoints" / "7" / "params").glob("_METADATA"):
        path.unlink()
    with pytest.raises(errors.UserError, match="_METADATA is missing") as told:
        m3it_jax.load(copy)
    assert "\n" not in str(told.value)


def test_what_is_no_request_text_or_id_is_refused():
    assistant = tiny_assistant.make()
    for call in (
        lambda: assistant.generate("What?", images=None),
        lambda: assistant.generate_batch([3]),
        lambda: assistant.log_likelihood("What?", "", [], None),
        lambda: assistant.log_likelihood("What?", "", [], "\ud800"),
        lambda: assistant.logits([], ["a"]),
        lambda: assistant.logits([], [1.5]),
        lambda: assistant.logits([], 3),
        lambda: assistant.logits(None, [1]),
    ):
        with pytest.raises(errors.UserError) as told:
            call()
        assert "\n" not in str(told.value)


def test_more_beams_than_rows_are_refused():
    with pytest.raises(errors.ConfigError, match="num_beams=3: at most 2 rows"):
        tiny_assistant.make(max_rows=2).generate("What?", num_beams=3)


def test_the_advice_is_about_what_was_given():
    assistant = tiny_assistant.make()
    with pytest.raises(errors.UserError, match="; lower max_new_tokens to less than") as told:
        assistant.generate("What?", max_new_tokens=100_000)
    assert "fewer pictures" not in str(told.value)
    with pytest.raises(errors.UserError, match="shorten the text or lower max_new_tokens$"):
        assistant.generate("What? " * 1000)


def test_int8_weights_are_loaded_and_answer(run_folder):
    quantized = m3it_jax.load(run_folder, decoder_weights="int8")
    leaves = parameter_paths.flatten(quantized.sampler.params)
    kernels = {leaf.dtype.name for path, leaf in leaves.items() if path.startswith("decoder/") and "/kernel" in path}
    assert kernels == {"int8", "float32"}  # kernels and their scales
    assert leaves["vit/blocks/mlp/up/kernel"].dtype.name == "float32"
    plain, moved = (assistant.logits([], [1, 20, 30]) for assistant in (m3it_jax.load(run_folder), quantized))
    assert 0.0 < np.linalg.norm(plain - moved) / np.linalg.norm(plain) < 0.05


def test_other_weights_are_refused(run_folder):
    with pytest.raises(errors.ConfigError, match="decoder_weights='int4': must be int8"):
        m3it_jax.load(run_folder, decoder_weights="int4")


def test_a_video_is_given_by_its_path_and_a_likelihood_needs_no_empty_inputs(tmp_path):
    assistant = tiny_assistant.make()
    film = tmp_path / "film.gif"
    first, second = tiny_assistant.picture(5), tiny_assistant.picture(6)
    first.save(film, save_all=True, append_images=[second])
    frames = pictures.read_video(film)
    assert assistant.generate("What?", video=str(film), max_new_tokens=3) == assistant.generate(
        "What?", images=frames, max_new_tokens=3
    )
    assert assistant.log_likelihood("What?", video=film, response="blue") == assistant.log_likelihood(
        "What?", "", frames, "blue"
    )
    with pytest.raises(errors.ConfigError, match="response: is missing"):
        assistant.log_likelihood("What?", images=[first])
    with pytest.raises(errors.ConfigError, match="video: must be a path, it is int"):
        assistant.generate("What?", video=3)
    assert "step 0" in repr(assistant) and "parameters" in repr(assistant)


def test_scores_that_are_no_numbers_are_told_in_one_line():
    model, params = tiny_assistant.tiny()
    broken = jax.tree.map(lambda leaf: leaf * jnp.nan, params)
    assistant = Assistant(Sampler(model, broken, tiny_assistant.words(), max_rows=8), {}, 0)
    with pytest.raises(errors.UserError, match="no finite numbers.*m3it weights verify") as caught:
        assistant.log_likelihood("What is this?", "", [tiny_assistant.png()], "a circle")
    assert "\n" not in str(caught.value)


def test_a_run_takes_the_placeholder_that_its_export_names(run_folder):
    assistant = m3it_jax.load(run_folder)
    placeholder, queries = assistant.sampler.tokenizer.vocab_size, assistant.sampler.num_queries
    words = assistant.sampler.tokenizer.encode("What is this?")
    shown = assistant.logits([tiny_assistant.png()], [*[placeholder] * queries, *words])
    assert shown.shape[0] == queries + len(words)
    other = assistant.logits([tiny_assistant.png(3)], [*[placeholder] * queries, *words])
    assert np.abs(shown[-1] - other[-1]).max() > 1e-3
