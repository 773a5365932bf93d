"""The cache folder: which variable decides, and what counts as not set."""

import pathlib

import pytest

from m3it_jax import errors, user_cache
from m3it_jax.dataset_building.publishers import npm
from m3it_jax.input_pipeline.order import token_lengths


@pytest.fixture
def chosen(monkeypatch):
    """Sets variables of the environment; of those that decide, only the given ones are set."""

    def set_only(**variables: str) -> pathlib.Path:
        for name in ("M3IT_CACHE", "XDG_CACHE_HOME"):
            monkeypatch.delenv(name, raising=False)
        for name, value in {"HOME": "/home/ada", **variables}.items():
            monkeypatch.setenv(name, value)
        return user_cache.folder()

    return set_only


def test_the_projects_own_variable_is_asked_first(chosen):
    assert chosen(M3IT_CACHE="/fast/m3it", XDG_CACHE_HOME="/fast/all") == pathlib.Path("/fast/m3it")
    assert chosen(M3IT_CACHE="", XDG_CACHE_HOME="/fast/all") == pathlib.Path("/fast/all/m3it_jax")
    assert chosen() == pathlib.Path("/home/ada/.cache/m3it_jax")


@pytest.mark.parametrize("ignored", ["", "cache", "./cache"])
def test_a_shared_folder_that_is_no_absolute_path_is_ignored(chosen, ignored):
    assert chosen(XDG_CACHE_HOME=ignored) == pathlib.Path("/home/ada/.cache/m3it_jax")


def test_without_a_home_the_variable_is_asked_for(chosen, monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    chosen()
    monkeypatch.setattr(pathlib.Path, "home", homeless)
    with pytest.raises(errors.UserError, match="M3IT_CACHE: not set, and there is no home folder; set it"):
        user_cache.folder()
    assert user_cache.folder  # the variable still decides where it is set
    monkeypatch.setenv("M3IT_CACHE", "/fast/m3it")
    assert user_cache.folder() == pathlib.Path("/fast/m3it")


def test_downloads_and_lengths_are_kept_in_it(chosen, folder, monkeypatch):
    chosen(M3IT_CACHE="/fast/m3it")
    assert npm.store() == pathlib.Path("/fast/m3it/npm")
    assert token_lengths.places(folder)[1:] == [pathlib.Path("/fast/m3it") / token_lengths.FOLDER]


def test_lengths_do_without_a_cache_where_there_is_no_home(chosen, folder, monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    chosen()
    monkeypatch.setattr(pathlib.Path, "home", homeless)
    assert token_lengths.places(folder) == [folder.path / token_lengths.FOLDER]
