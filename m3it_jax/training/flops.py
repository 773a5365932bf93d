"""The useful arithmetic of a step by formula, and the arithmetic that the machine could do in the same time.

A compiler's own count is no use here: it counts the body of a scan once. Per token, a kernel of N weights costs 2N
operations in the forward pass, 2N more where the gradient must go on to something trained below, 2N more if it is
trained itself: 6N in a trained model, 4N in a frozen part above a trained one, 2N in one below everything trained.
Attention costs two products forward and four backward. Products over padding and masked-out scores count, since dense
programs make them; norms, activations, the optimiser and what `model.remat` computes again do not.
"""

import dataclasses
import functools
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from m3it_jax import adapter_weights, parameter_paths, sharding
from m3it_jax.models.encoder_decoder import EncoderDecoderConfig
from m3it_jax.models.variants import Variant

# Dense bfloat16 operations a second and device, by the beginning of its name (`Device.device_kind`). Makers' figures:
# cloud.google.com/tpu/docs/{v5e,v5p,v6e} (system architecture), NVIDIA's data sheets of A100, H100 SXM and H200.
PEAKS: dict[str, float] = {
    "TPU v5 lite": 197e12,
    "TPU v5e": 197e12,
    "TPU v5": 459e12,  # JAX calls v5p so, in one word less
    "TPU v6 lite": 918e12,
    "TPU v6e": 918e12,
    "NVIDIA A100": 312e12,
    "NVIDIA H100 80GB HBM3": 989e12,
    "NVIDIA H200": 989e12,
}

# CHOICE: large enough for a CPU's best rate, and a fifth of a second on two cores of 2023.
_GEMM_SIDE = 2048
_GEMM_SECONDS = 0.4
GEMM_FLOPS = 2.0 * _GEMM_SIDE**3


@dataclasses.dataclass(frozen=True)
class Shapes:
    """What the cost of a step depends on, over all hosts; P, Q and the widths come from the variant."""

    num_images: int  # I
    num_rows: int  # B
    row_len: int  # T, tokens
    num_targets: int  # tokens of a row that go through the output head
    caption_len: int  # C, tokens; towers alone
    text_len: int  # tokens that the Q-Former reads beside each picture

    @classmethod
    def of(cls, batch: Mapping[str, Any], max_targets: int) -> "Shapes":
        """Returns those of a batch as the objectives take it; see `objectives.response_loss` for `max_targets`."""
        row_len = batch["token_ids"].shape[1] if "token_ids" in batch else 0
        return cls(
            num_images=batch["images"].shape[0] if "images" in batch else 0,
            num_rows=batch["source_index"].shape[0],
            row_len=row_len,
            num_targets=min(max_targets, max(row_len - 1, 0)),
            caption_len=batch["caption_ids"].shape[1] if "caption_ids" in batch else 0,
            text_len=batch["text_ids"].shape[1] if "text_ids" in batch else 0,
        )


@dataclasses.dataclass(frozen=True)
class _Sizes(Shapes):
    """A step's shapes with the token counts of the variant's parts."""

    num_patches: int  # P, the class token counted
    num_queries: int  # Q, of the Q-Former, or what the projection takes of a picture without one
    num_read: int  # tokens of a picture that the towers' heads read
    num_written: int  # tokens of a row in the decoder: all, or behind an encoder those of the answer


_PICTURE = r"(vit|qformer|projection)/.*"
_BELOW_TEXT = rf"{_PICTURE}|decoder/(token_embedding/|position_embedding|blocks/|encoder/|relative_bias/).*"
_BELOW_ENCODER = rf"{_PICTURE}|decoder/(token_embedding|encoder)/.*"
_TIED_HEAD = r"decoder/token_embedding/embedding"  # a kernel where the model has no other output head

# Kernels -> how many tokens go through one, and which parameters stand below it (what its input gradient serves).
# The first pattern that matches the whole path counts; every kernel must match.
_KERNELS: tuple[tuple[str, Callable[[_Sizes], int], str], ...] = (
    (r"vit/patch_embedding/kernel", lambda n: n.num_images * (n.num_patches - 1), r""),
    (r"vit/.*", lambda n: n.num_images * n.num_patches, r"vit/(?!final_norm).*"),
    (r"qformer/.*/cross_attn/(key|value)/kernel", lambda n: n.num_images * n.num_patches, r"vit/.*"),
    (r"qformer/.*/text_mlp/.*", lambda n: n.num_images * n.text_len, r"(vit|qformer)/.*"),
    (
        r"qformer/.*/self_attn/.*",
        lambda n: n.num_images * (n.num_queries + n.text_len),
        r"(vit|qformer)/.*",
    ),
    (r"(qformer|projection)/.*", lambda n: n.num_images * n.num_queries, r"(vit|qformer)/.*"),
    (_TIED_HEAD, lambda n: n.num_rows * n.num_targets, rf"{_PICTURE}|decoder/.*"),
    (r"decoder/head/kernel", lambda n: n.num_rows * n.num_targets, rf"{_PICTURE}|decoder/(?!head).*"),
    (r"decoder/encoder/.*", lambda n: n.num_rows * n.row_len, _BELOW_ENCODER),
    (r"decoder/blocks/cross_attn/(key|value)/kernel", lambda n: n.num_rows * n.row_len, _BELOW_ENCODER),
    (r"decoder/.*", lambda n: n.num_rows * n.num_written, _BELOW_TEXT),
    (r"heads/pool_(key|value)/kernel", lambda n: n.num_images * n.num_read, _PICTURE),
    (r"heads/text_up/kernel", lambda n: n.num_images * n.caption_len, r"heads/text_(embedding|positions).*"),
    (r"heads/text_out/kernel", lambda n: n.num_images, r"heads/text_.*"),
    (r"heads/.*", lambda n: n.num_images, rf"{_PICTURE}|heads/pool_.*"),
)


class StepFlops:
    """The useful floating point operations of one update, by the shapes of its batch."""

    def __init__(self, variant: Variant, *, trainable: Mapping[str, Any], frozen: Mapping[str, Any], max_targets: int):
        """Takes what the cost depends on.

        Args:
          variant: Sizes of the parts.
          trainable: Nested parameters that the update changes; leaves with a shape.
          frozen: Those that it does not.
          max_targets: Most supervised tokens of a row (`objectives.Task`).

        Raises:
          ValueError: a kernel is of no known part, so its cost is not known.
        """
        self._variant, self._max_targets = variant, max_targets
        trained = parameter_paths.flatten(trainable)
        leaves = {**trained, **parameter_paths.flatten(frozen)}
        self._paths, self._trained = leaves.keys(), trained.keys()
        self._kernels = []
        for path, leaf in leaves.items():
            kernel = adapter_weights.kernel_of(path) or path
            if path.endswith(f"/{adapter_weights.SCALE}"):
                continue  # no product
            if kernel.endswith("/kernel") or (path == _TIED_HEAD and "decoder/head/kernel" not in leaves):
                row = next((row for row in _KERNELS if re.fullmatch(row[0], kernel)), None)
                if row is None:
                    raise ValueError(f"{path}: no row of training/flops.py says how many tokens go through it; add one")
                passes = 1 + self._has_trained(row[2]) + (path in self._trained)
                self._kernels.append((passes * int(np.prod(leaf.shape)), row[1]))
        self._known: dict[Shapes, float] = {}

    def __call__(self, batch: Mapping[str, Any]) -> float:
        """Returns the operations of an update on this batch (over all hosts), products and sums counted apart."""
        shapes = Shapes.of(batch, self._max_targets)
        if shapes not in self._known:
            self._known[shapes] = self.count(shapes)
        return self._known[shapes]

    def count(self, shapes: Shapes) -> float:
        """Returns the operations of an update in these shapes."""
        num_patches, num_queries = self._variant.vit.num_positions, self._variant.picture_len
        num_read = num_queries if self._holds("qformer/.*") else num_patches
        sizes = _Sizes(
            **dataclasses.asdict(shapes),
            num_patches=num_patches,
            num_queries=num_queries,
            num_read=num_read,
            num_written=shapes.num_targets if self._variant.is_encoder_decoder else shapes.row_len,
        )
        kernels = sum(2.0 * weights * tokens(sizes) for weights, tokens in self._kernels)
        return kernels + sum(self._attention(sizes))

    def _attention(self, n: _Sizes) -> list[float]:
        """Returns the operations of each kind of attention: scores and weighted values, over all layers."""
        vit, qformer, decoder = self._variant.vit, self._variant.qformer, self._variant.decoder
        num_pools = len([path for path in self._paths if re.fullmatch(r"heads/attribute_.*/kernel", path)]) + 1
        pictures = vit.embed_dim * n.num_images
        texts = decoder.num_heads * decoder.head_dim * n.num_rows
        # Part, its layers' products of one score matrix, what is below its scores or in its keys.
        kinds: list[tuple[str, float, str]] = [
            ("vit/.*", vit.num_layers * pictures * n.num_patches**2, r"vit/(?!final_norm).*"),
            ("decoder/.*", decoder.num_layers * texts * n.num_written**2, _BELOW_TEXT),
            ("heads/.*", num_pools * pictures * n.num_read, rf"{_PICTURE}|heads/pool_.*"),
            ("heads/.*", 0.5 * pictures * n.num_images, r".*"),  # every picture against every caption: one product
        ]
        if isinstance(decoder, EncoderDecoderConfig):
            kinds += [
                ("decoder/.*", decoder.num_encoder_layers * texts * n.row_len**2, _BELOW_ENCODER),
                ("decoder/.*", decoder.num_layers * texts * n.num_written * n.row_len, _BELOW_TEXT),
            ]
        if qformer is not None:
            num_reading = qformer.num_layers // qformer.cross_attention_every
            width = qformer.embed_dim * n.num_images
            kinds += [
                ("qformer/.*", qformer.num_layers * width * (n.num_queries + n.text_len) ** 2, r"(vit|qformer)/.*"),
                ("qformer/.*", num_reading * width * n.num_queries * n.num_patches, r"(vit|qformer)/.*"),
            ]
        return [
            2.0 * products * (2 + 4 * self._has_trained(below)) for part, products, below in kinds if self._holds(part)
        ]

    def _has_trained(self, pattern: str) -> bool:
        return any(re.fullmatch(pattern, path) for path in self._trained)

    def _holds(self, pattern: str) -> bool:
        return any(re.fullmatch(pattern, path) for path in self._paths)


def peak_flops(devices: Sequence[jax.Device]) -> float:
    """Returns the operations a second that the devices together can do at best.

    The makers' figure where the device is known, else the rate of a float32 matrix product measured now (under a second
    where nothing else runs). The CPU devices of one host are one machine, however many JAX shows.
    """
    kind = devices[0].device_kind
    for beginning in sorted(PEAKS, key=len, reverse=True):
        if kind.startswith(beginning):
            return PEAKS[beginning] * len(devices)
    hosts = len({device.process_index for device in devices})
    return measured_gemm_flops() * (hosts if devices[0].platform == "cpu" else len(devices))


@functools.cache
def measured_gemm_flops() -> float:
    """Returns the best rate of `gemm` on the first local device, operations a second; measured once a process."""
    run = gemm()
    run()
    best, end = float("inf"), time.perf_counter() + _GEMM_SECONDS
    while time.perf_counter() < end:
        begin = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - begin)
    return GEMM_FLOPS / best


def gemm() -> Callable[[], None]:
    """Returns a function that makes one 2048 x 2048 x 2048 product in float32 on the first local device, and waits."""
    device = jax.local_devices()[0]
    matrix = jax.device_put(np.ones((_GEMM_SIDE, _GEMM_SIDE), np.float32), device)
    product = jax.jit(jnp.matmul)
    alone = sharding.make_mesh(devices=[device])

    def run() -> None:
        with jax.set_mesh(alone):  # a run's own mesh, which is set around its loop, may hold more devices
            jax.block_until_ready(product(matrix, matrix))

    return run
