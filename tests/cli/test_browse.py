from m3it_jax.cli import browse as verb
from m3it_jax.cli import main


def run(*arguments):
    return main.main(["browse", *(str(argument) for argument in arguments)])


def test_pages_are_written_and_named(one_source, tmp_path, capsys):
    assert run(one_source, "--out", tmp_path / "pages", "--limit", 5) == 0
    told = capsys.readouterr().err
    assert "5 records and " in told and str(tmp_path / "pages" / "index.html") in told
    assert (tmp_path / "pages" / "index.html").is_file()


def test_a_dry_run_writes_nothing(one_source, tmp_path, capsys):
    assert run(one_source, "--out", tmp_path / "pages", "--dry-run") == 0
    assert "digits-vqa, train: 4 records" in capsys.readouterr().out
    assert not (tmp_path / "pages").exists()


def test_the_default_is_the_page_makers(one_source, tmp_path):
    import argparse

    from m3it_jax.analysis import browser

    parser = argparse.ArgumentParser()
    verb.add_arguments(parser)
    assert parser.parse_args(["data", "--out", "pages"]).limit == browser.LIMIT


def test_a_tokenizer_that_is_none_is_named_before_anything_is_written(one_source, tmp_path, capsys):
    (tmp_path / "words.model").write_text("no model")
    assert run(one_source, "--out", tmp_path / "pages", "--tokenizer", tmp_path / "words.model") == 1
    assert "words.model: is no SentencePiece model" in capsys.readouterr().err
    assert not (tmp_path / "pages").exists()
