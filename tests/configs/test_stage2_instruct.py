"""The presets: the paper's are the paper's, and none trains on what the paper holds out."""

import importlib
import pathlib

import pytest

from m3it_jax import config as config_lib
from m3it_jax import errors
from m3it_jax.cli import configuration
from m3it_jax.dataset_building import sources

CONFIGS = pathlib.Path(__file__).parents[2] / "configs"


def _presets() -> list[str]:
    found = []
    for path in sorted(CONFIGS.rglob("*.py")):
        if "def get_config" not in path.read_text("utf-8"):
            continue
        name = path.relative_to(CONFIGS).with_suffix("").as_posix()
        module = importlib.import_module(f"configs.{name.replace('/', '.')}")
        found += [f"{path}:{preset}" for preset in getattr(module, "PRESETS", ())] or [str(path)]
    return found


def _load(spec: str) -> config_lib.Experiment:
    given = ["--data.path=data", "--init_from.all=runs/x"] if "finetune" in spec else []
    return configuration.load(spec, given)


def _known(held_out: bool) -> set[str]:
    known = {name: sources.load(name).published for name in sources.NAMES}
    return {name for name, told in known.items() if told.held_out is held_out}


def test_the_held_out_sources_are_those_of_the_source_ledger() -> None:
    assert set(config_lib.HELD_OUT) == _known(True)
    assert len(config_lib.HELD_OUT) == 13


@pytest.mark.parametrize("spec", _presets())
def test_no_preset_names_a_held_out_source(spec) -> None:
    assert not set(_load(spec).data.mixture) & set(config_lib.HELD_OUT)


def test_stage_2_of_the_paper_trains_on_the_other_27_by_their_size() -> None:
    mixture = _load(f"{CONFIGS}/stage2_instruct.py:paper").data.mixture
    assert set(mixture) == _known(False) and len(mixture) == 27
    assert mixture == {name: float(sources.load(name).published.counts["train"]) for name in mixture}
    assert sum(mixture.values()) == 1_378_186  # arXiv 2306.04387, Table 7
    assert round(3 * sum(mixture.values()) / 256) == pytest.approx(16_150, abs=1)


def test_stage_1_of_the_paper_trains_on_captions() -> None:
    mixture = _load(f"{CONFIGS}/stage1_align.py:paper").data.mixture
    assert set(mixture) == {name for name in _known(False) if sources.load(name).task == "captioning"}


def test_a_held_out_source_stops_a_run_unless_it_is_told() -> None:
    spec, named = f"{CONFIGS}/stage2_instruct.py:paper", "--data.mixture={'coco': 1, 'viquae': 1}"
    with pytest.raises(errors.ConfigError, match=r"viquae is held out .* --data\.train_on_held_out=true"):
        configuration.load(spec, [named])
    assert "viquae" in configuration.load(spec, [named, "--data.train_on_held_out=true"]).data.mixture


def test_fine_tuning_needs_data_and_weights_and_nothing_else() -> None:
    for preset in ("small", "large"):
        spec = f"{CONFIGS}/finetune.py:{preset}"
        with pytest.raises(errors.ConfigError, match=r"init_from\.all"):
            configuration.load(spec, ["--data.path=x", "--init_from.all="])
        assert configuration.load(spec, ["--init_from.all=x", "--data.path=x"]).data.mixture == {}
