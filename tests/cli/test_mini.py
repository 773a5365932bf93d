import pytest

from m3it_jax.cli import main
from m3it_jax.dataset_building import mini
from m3it_jax.dataset_building.publishers import npm


@pytest.mark.parametrize("edition", ["base", "full"])
def test_dry_run_lists_the_sources_and_writes_nothing(tmp_path, capsys, edition):
    assert main.main(["mini", str(tmp_path / "out"), "--edition", edition, "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert [line.split(":")[0] for line in out.splitlines()] == [spec.name for spec in mini.EDITIONS[edition]]
    assert not (tmp_path / "out").exists()


def test_full_without_npm_is_told_in_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("M3IT_CACHE", str(tmp_path / "cache"))
    assert main.main(["mini", str(tmp_path / "out"), "--edition", "full"]) == 1
    told = capsys.readouterr().err
    assert "--edition base" in told and told.count("\n") == 1
    assert not list((tmp_path / "out").glob("*/1.0.0"))


def test_every_npm_source_names_pinned_packages():
    for spec in mini.EDITIONS["full"]:
        assert set(spec.packages) <= set(npm.PACKAGES)
    assert not any(spec.packages for spec in mini.EDITIONS["base"])


def test_an_unknown_edition_is_refused(capsys):
    with pytest.raises(SystemExit) as caught:
        main.main(["mini", "out", "--edition", "huge"])
    assert caught.value.code == 2 and "'huge'" in capsys.readouterr().err


def test_a_file_in_the_place_of_the_folder_is_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    for out in (tmp_path / "file", tmp_path / "file" / "sub"):
        assert main.main(["mini", str(out), "--limit", "1"]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert "is no folder" in line
