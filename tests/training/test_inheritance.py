"""What a fine-tuning run takes over: the model and the tokenizer of what it starts from, or of its own folder."""

import json
import shutil

import pytest
import small_models

from m3it_jax import errors, tokenizer
from m3it_jax.config import INHERIT, DataConfig, Experiment, ModelConfig
from m3it_jax.models import variants
from m3it_jax.training import inheritance


def experiment(source, **data) -> Experiment:
    return Experiment(
        model=ModelConfig(variant=INHERIT), data=DataConfig(**data), init_from={"all": str(source)} if source else {}
    )


@pytest.fixture
def imported(fresh_run, tmp_path):
    """A folder as `m3it weights import` makes it: no steps, a model.json of its own, a tokenizer."""
    folder = tmp_path / "weights"
    (folder / "params").mkdir(parents=True)
    (folder / "params" / "vit.safetensors").touch()
    (folder / "config.json").write_text(json.dumps({"model": {"variant": "llava_1.5_7b"}}))
    variants.write(small_models.SMALL["llava"], folder)
    shutil.copy(fresh_run / "tokenizer.model", folder)
    return folder


def test_a_run_hands_on_the_name_of_its_variant_and_its_tokenizer(fresh_run, tmp_path) -> None:
    found = inheritance.resolved(experiment(fresh_run), tmp_path / "new")
    assert found.model.variant == "tiny"
    assert found.data.tokenizer == str(fresh_run / "tokenizer.model")


def test_imported_weights_hand_on_their_folder_whose_sizes_are_their_own(imported, tmp_path) -> None:
    found = inheritance.resolved(experiment(imported), tmp_path / "new")
    assert found.model.variant == str(imported)
    assert variants.named(found.model.variant) == small_models.SMALL["llava"]
    assert found.data.tokenizer == str(imported / "tokenizer.model")


def test_imported_weights_without_a_tokenizer_need_one(imported, tmp_path) -> None:
    (imported / "tokenizer.model").unlink()
    with pytest.raises(errors.ConfigError, match=r"data\.tokenizer: not set, and init_from\.all=.* has no tokenizer"):
        inheritance.resolved(experiment(imported), tmp_path / "new")


def test_what_is_given_stays(fresh_run, tmp_path) -> None:
    config = experiment(fresh_run, tokenizer="package:mini")
    config.model.variant = "mini"
    found = inheritance.resolved(config, tmp_path / "new")
    assert (found.model.variant, found.data.tokenizer) == ("mini", "package:mini")
    assert inheritance.resolved(Experiment(), tmp_path / "new").data.tokenizer == "", "the data folder's own"


def test_only_the_decoder_brings_a_tokenizer(fresh_run, tmp_path) -> None:
    for part, wanted in (("vit", ""), ("decoder", str(fresh_run / "tokenizer.model"))):
        config = Experiment(init_from={part: str(fresh_run)})
        assert inheritance.resolved(config, tmp_path / "new").data.tokenizer == wanted


def test_a_run_that_resumes_needs_no_source_any_more(fresh_run, tmp_path) -> None:
    found = inheritance.resolved(experiment(tmp_path / "gone"), fresh_run)
    assert found.model.variant == "tiny"
    assert found.data.tokenizer == str(tokenizer.find(fresh_run))


def test_a_source_that_is_missing_is_told(tmp_path) -> None:
    with pytest.raises(errors.UserError, match="gone: no checkpoint here"):
        inheritance.resolved(experiment(tmp_path / "gone"), tmp_path / "new")


def test_tiles_go_with_the_variant_of_another_run(fresh_run, tmp_path) -> None:
    run = shutil.copytree(fresh_run, tmp_path / "tiled")
    stored = json.loads((run / "config.json").read_text())
    assert inheritance.resolved(experiment(run), tmp_path / "new").model.tiles == 1
    stored["model"]["tiles"] = 6
    (run / "config.json").write_text(json.dumps(stored))
    assert inheritance.resolved(experiment(run), tmp_path / "new").model.tiles == 6
    given = experiment(run)
    given.model.tiles = 3
    assert inheritance.resolved(given, tmp_path / "new").model.tiles == 3
    named = experiment(run)
    named.model.variant = "tiny"
    assert inheritance.resolved(named, tmp_path / "new").model.tiles == 1
    stored["model"]["tiles"] = "many"
    (run / "config.json").write_text(json.dumps(stored))
    with pytest.raises(errors.UserError, match=r"model\.tiles='many': must be from 1"):
        inheritance.resolved(experiment(run), tmp_path / "new")
