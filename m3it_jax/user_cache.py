"""The one folder of the user's where downloads and counted lengths are kept between runs."""

import os
import pathlib

from m3it_jax import errors


def folder() -> pathlib.Path:
    """Returns `$M3IT_CACHE`, else `$XDG_CACHE_HOME/m3it_jax`, else `~/.cache/m3it_jax`; it need not exist yet.

    An empty variable counts as not set. So does an `XDG_CACHE_HOME` that is no absolute path: the XDG Base Directory
    Specification (0.8) has programs ignore one, since the folder would be another in every working directory.

    Raises:
      UserError: neither variable is set and the user has no home folder, as in a container with a bare user id.
    """
    if chosen := os.environ.get("M3IT_CACHE"):
        return pathlib.Path(chosen)
    shared = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(shared):
        return pathlib.Path(shared) / "m3it_jax"
    try:
        return pathlib.Path.home() / ".cache" / "m3it_jax"
    except RuntimeError as error:
        raise errors.UserError("M3IT_CACHE: not set, and there is no home folder; set it to a folder") from error
