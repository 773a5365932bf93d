"""What holds for every test: eight CPU devices, no network, fixed seeds, checked shapes."""

import os
import pathlib
import random
import signal
import socket
import subprocess
from importlib import metadata

import numpy as np
import pytest

# Before JAX picks a backend. Eight small devices, so that a wrong sharding shows on a machine without accelerators.
os.environ["JAX_PLATFORMS"] = "cpu"
# Nearly all of the time goes into compiling programs that run for milliseconds; programs that tests start inherit it.
_QUICK_TO_COMPILE = ["--xla_backend_optimization_level=0"]
# The older emitters compile in two thirds of the time. jaxlib 0.10 has them; 0.12 ends at a flag that it does not know.
if tuple(map(int, metadata.version("jaxlib").split(".")[:2])) < (0, 11):
    _QUICK_TO_COMPILE.append("--xla_cpu_use_fusion_emitters=false")
os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *_QUICK_TO_COMPILE]).strip()
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import jax  # noqa: E402  (after the environment it reads)
from jaxtyping import install_import_hook  # noqa: E402

jax.config.update("jax_num_cpu_devices", 8)
# Many tests compile the same small programs; compiling is most of what they do.
jax.config.update("jax_compilation_cache_dir", str(pathlib.Path(__file__).parents[1] / ".pytest_cache" / "jax"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)

# In tests, the shapes in the signatures of the models are checked at each call.
install_import_hook("m3it_jax.models", "beartype.beartype")

# A shell that runs the tests in the background has them ignore Ctrl-C, and with them the programs that they interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ["built_folder", "data_folder", "fake_endpoint"]

_CONNECT = socket.socket.connect
_LOCAL = ("127.", "localhost", "::1")


# Files that take minutes. Workers take whole files in this order: a long one at the end would leave the others idle.
_LONGEST_FIRST = ("training/test_loop.py", "reliability/test_kill.py", "integration/test_whole_path.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the tests of the longest files first; the rest stays in its order."""

    def rank(item: pytest.Item) -> int:
        path = item.path.as_posix()
        return next((place for place, name in enumerate(_LONGEST_FIRST) if path.endswith(name)), len(_LONGEST_FIRST))

    items.sort(key=rank)


@pytest.fixture(autouse=True)
def no_network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that reaches for the network fails at once, instead of passing on one machine alone."""
    if request.node.get_closest_marker("network"):
        return

    def connect(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and not str(address[0]).startswith(_LOCAL):
            raise OSError(f"the test tried to reach {address!r}; tests have no network")
        _CONNECT(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)
    # Programs that a test starts find a proxy that refuses at once.
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost,::1")  # Beam's workers talk to one another


@pytest.fixture(scope="session")
def reference_python() -> str:
    """Returns the interpreter that has torch and transformers; launch/test.sh names the one that it made."""
    path = os.environ.get("M3IT_REFERENCE_PYTHON", "")
    probe = "import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, ('torch', 'transformers'))))"
    if not path or subprocess.run([path, "-c", probe]).returncode:
        pytest.skip(f"M3IT_REFERENCE_PYTHON={path} names no interpreter with torch and transformers")
    return path


@pytest.fixture
def lowered() -> list[str]:
    """Grows by one for each program that is lowered from here on, whether a cache on disk has it or not."""
    names: list[str] = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, _, **__: names.append(name) if "jaxpr_to_mlir" in name else None
    )
    return names


@pytest.fixture(autouse=True)
def seeds() -> None:
    random.seed(0)
    np.random.seed(0)
