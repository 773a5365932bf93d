"""`m3it weights`: what it prints, refuses and leaves behind."""

import json

import pytest
from checkpoint_conversion import gadgets, small_folders
from checkpoint_conversion.small_folders import STORED

from m3it_jax.cli import main


def run(*words):
    return main.main(["weights", *map(str, words)])


def test_in_and_out_from_the_command_line(tmp_path, capsys):
    told = tmp_path / "told.json"
    assert run("import", STORED / "llava", tmp_path / "ours", "--json", told) == 0
    shown = capsys.readouterr()
    assert "decoder " in shown.out and "a block after the layer that is read" in shown.out
    assert f"written to {tmp_path / 'ours'}" in shown.err
    values = json.loads(told.read_text())
    assert values["family"] == "llava" and values["parts"]["vit"]["dtypes"] == ["F32"]
    words = ("--shard-size", "50KB", "--no-certificate", "--json", told)
    assert run("export", tmp_path / "ours", tmp_path / "hf", *words) == 0
    files = json.loads(told.read_text())["files"]
    assert len(files) > 1 and all(one["bytes"] <= 50_000 for one in files)
    assert small_folders.arrays(tmp_path / "hf").keys() == small_folders.arrays(STORED / "llava").keys()


def test_a_dry_run_writes_nothing(tmp_path, capsys):
    assert run("import", STORED / "llava", tmp_path / "ours", "--dry-run") == 0
    assert "nothing was written" in capsys.readouterr().err and not list(tmp_path.iterdir())
    assert run("import", STORED / "llava", tmp_path / "ours") == 0
    assert run("export", tmp_path / "ours", tmp_path / "hf", "--dry-run") == 0
    assert "model.safetensors: 80 tensors" in capsys.readouterr().out and not (tmp_path / "hf").exists()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["import", "none", "OUT"], 1, "none: no such folder; give a Hugging Face folder"),
        (["import", "."], 2, "OUT"),
        (["import", ".", "OUT", "--dtype", "int8"], 2, "invalid choice: 'int8'"),
        (["export", "none", "OUT"], 1, "none: no checkpoint here"),
        (["export", ".", "OUT", "--shard-size", "5XB"], 2, "must be a whole number above 0"),
        (["import", ".", "OUT", "--json", "none/a.json"], 1, "--json none/a.json"),
        (["verify", ".", "none"], 1, "none: no checkpoint here"),
        (["verify", "none", "."], 1, "none/config.json: cannot be read"),
        (["verify", "."], 2, "CHECKPOINT"),
        ([], 2, "import|export"),
        (["guess"], 2, "invalid choice: 'guess'"),
    ],
)
def test_mistakes_are_told_in_one_line(tmp_path, monkeypatch, capsys, words, code, message):
    monkeypatch.chdir(tmp_path)
    try:
        assert run(*words) == code
    except SystemExit as end:
        assert end.code == code
    shown = capsys.readouterr()
    assert message in shown.err and len(shown.err.strip().splitlines()) == 1 and not list(tmp_path.iterdir())


def test_a_pickle_that_would_run_code_is_refused_by_name(tmp_path, capsys):
    folder = small_folders.copy("llava", tmp_path / "in")
    (folder / "model.safetensors").unlink()
    body = gadgets.pickles(tmp_path / "sentinel")["os.system"]
    (folder / "pytorch_model.bin").write_bytes(gadgets.archive(body))
    assert run("import", folder, tmp_path / "ours") == 1
    shown = capsys.readouterr().err
    assert "pytorch_model.bin: refused, nothing of it was run: it would call posix.system" in shown
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_an_export_brings_its_certificate_and_damage_gives_exit_code_1(tmp_path, capsys):
    ours, hf = tmp_path / "ours", tmp_path / "hf"
    assert run("import", STORED / "ying_vlm", ours) == 0
    assert run("export", ours, hf) == 0
    assert capsys.readouterr().out.endswith("\nequal\n")
    assert json.loads((hf / "certificate.json").read_text())["ok"]

    path = ours / "params" / "decoder.safetensors"
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)
    told = tmp_path / "told.json"
    assert run("verify", hf, ours, "--json", told) == 1
    shown = capsys.readouterr().out
    assert "tensors: language_model." in shown and shown.endswith("\nNOT equal\n")
    assert json.loads(told.read_text()) == json.loads((ours / "certificate.json").read_text())

    assert run("verify", ours, hf) == 2
    assert "give them the other way round" in capsys.readouterr().err
