"""Build multi-modal instruction data, train vision-language models on it and use them.

The public surface is `load`, `mixture_order` and `metrics`; everything else is private. The names are looked up on
first use, so that `import m3it_jax` costs nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from m3it_jax import metrics as metrics
    from m3it_jax.generation.assistant import load as load

    # The form of training.order's, which evaluation, where this file is imported too, may not know.
    from m3it_jax.input_pipeline.order.mixture import mixture_order as mixture_order

__version__ = "0.1.0"

# Public name -> where it lives. A module alone is the public name itself.
_PUBLIC = {
    "load": ("m3it_jax.generation.assistant", "load"),
    "mixture_order": ("m3it_jax.training.order", "mixture_order"),
    "metrics": ("m3it_jax.metrics", None),
}


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'm3it_jax' has no attribute {name!r}; public names: {', '.join(_PUBLIC)}")
    module_name, attribute = _PUBLIC[name]
    module = importlib.import_module(module_name)
    return getattr(module, attribute) if attribute else module


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
