import hashlib
import io
import os
import pathlib
import tarfile

import pytest

from m3it_jax import errors
from m3it_jax.dataset_building.publishers import npm

NPM = """#!/bin/sh
[ "$1" = pack ] && [ "$2" = toys@1.0.0 ] && cp {tarball} toys-1.0.0.tgz
"""


def tarball(path, members):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            if content is None:
                member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
            member.size = len(content or b"")
            archive.addfile(member, io.BytesIO(content or b""))
    return path


@pytest.fixture
def toys(tmp_path, monkeypatch):
    """A package `toys` that a stand-in for npm hands out; returns its tarball."""
    path = tarball(tmp_path / "toys.tgz", {"package/data/a.txt": b"a", "package/src/b.txt": b"b"})
    package = npm.Package("toys", "1.0.0", hashlib.sha512(path.read_bytes()).hexdigest(), ("data/",))
    monkeypatch.setattr(npm, "PACKAGES", {"toys": package})
    monkeypatch.setenv("M3IT_CACHE", str(tmp_path / "cache"))
    program = tmp_path / "bin" / "npm"
    program.parent.mkdir()
    program.write_text(NPM.format(tarball=path))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return path


def test_a_package_is_fetched_once_and_unpacked_in_part(toys, monkeypatch):
    folder = npm.fetch(["toys"])["toys"]
    assert [str(path.relative_to(folder)) for path in folder.rglob("*.txt")] == ["data/a.txt"]
    monkeypatch.setenv("PATH", "")  # from now on npm is not there, and not needed
    assert npm.fetch(["toys"])["toys"] == folder


def test_another_tarball_than_the_pinned_one_is_refused(toys):
    toys.write_bytes(toys.read_bytes() + b"more")
    with pytest.raises(errors.UserError, match="SHA-512"):
        npm.fetch(["toys"])


def test_without_npm_the_message_says_what_to_do(toys, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(errors.UserError, match="install it.*--edition base"):
        npm.fetch(["toys"])


def test_a_failure_of_npm_is_told_in_one_line(toys):
    (pathlib.Path(os.environ["PATH"].split(":")[0]) / "npm").write_text("#!/bin/sh\necho no network >&2\nexit 1\n")
    with pytest.raises(errors.UserError, match=r"toys@1.0.0 \(no network\)"):
        npm.fetch(["toys"])


def test_a_name_that_leads_out_is_refused(tmp_path):
    path = tarball(tmp_path / "evil.tgz", {"package/data/../../out.txt": b"x"})
    with pytest.raises(errors.UserError, match="leads out"):
        npm.extract(path, tmp_path / "target", ("data/",))
    assert not (tmp_path / "out.txt").exists()


def test_links_are_not_unpacked(tmp_path):
    path = tarball(tmp_path / "link.tgz", {"package/data/link": None, "package/data/a": b"a"})
    npm.extract(path, tmp_path / "target", ("data/",))
    assert [found.name for found in (tmp_path / "target").rglob("*") if found.is_file()] == ["a"]


def test_a_torn_tarball_is_told(tmp_path, toys):
    torn = tmp_path / "torn.tgz"
    torn.write_bytes(toys.read_bytes()[:-40])
    with pytest.raises(errors.UserError, match="cannot be unpacked"):
        npm.extract(torn, tmp_path / "target", ("data/",))


def test_every_hash_is_pinned():
    assert all(len(package.sha512) == 128 for package in npm.PACKAGES.values())
