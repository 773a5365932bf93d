"""What a run folder tells about its training."""

import json
import pathlib

import tiny_assistant

from m3it_jax import records
from m3it_jax.cli import answering


def test_a_run_tells_what_it_was_trained_on(one_source, tmp_path):
    copy = tiny_assistant.write_run(tmp_path / "run")
    config = json.loads((copy / "config.json").read_text())

    def found(mixture: dict, data: pathlib.Path) -> tuple[list[str], list[str]]:
        config["data"] |= {"mixture": mixture, "path": str(data)}
        (copy / "config.json").write_text(json.dumps(config))
        names, sources = answering.training_of(copy)
        return names, list(sources)

    every = list(records.DataFolder.open(one_source).sources)
    assert every and found({}, one_source) == (every, every)  # no mixture: all sources of the folder
    assert found({"other": 1.0}, one_source) == (["other"], every)
    assert found({"other": 1.0}, tmp_path / "gone") == (["other"], [])
    (copy / "config.json").write_text("{}")
    assert answering.training_of(copy) == ([], {})
