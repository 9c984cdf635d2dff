"""timm's (PyTorch) work of the same kind as ours, where torch, torchvision and timm are installed beside ours.

They are no requirement of the project: `.venv/bin/pip install torch torchvision timm "numpy<2"` adds them.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from benchmarks import turns

NETWORK = "efficientnet_b0"


def installed() -> bool:
    """Whether they can be imported."""
    try:
        import timm  # noqa: F401
        import torch  # noqa: F401
    except ImportError:
        return False
    return True


def inference(images: np.ndarray) -> turns.Candidate:
    """The network alone on [B, H, W, 3]."""
    import timm
    import torch

    network = timm.create_model(NETWORK, pretrained=False).eval()
    batch = _pixels(images).contiguous(memory_format=torch.channels_last)  # 1.4 times as fast beside TensorFlow

    def run() -> None:
        with torch.inference_mode():
            network(batch)

    return turns.repeated(run, len(images))


def training(images: np.ndarray, labels: np.ndarray) -> turns.Candidate:
    """Steps (forward, backward, its RMSProp) on one batch, [B, H, W, 3] and [B]."""
    import timm
    import timm.optim
    import torch

    network = timm.create_model(NETWORK, pretrained=False).train()
    optimizer = timm.optim.RMSpropTF(network.parameters(), lr=1e-4, alpha=0.9, momentum=0.9, eps=1e-3)
    batch, targets = _pixels(images), torch.from_numpy(labels)

    def step() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(batch), targets).backward()
        optimizer.step()

    return turns.repeated(step, len(images))


def input_pipeline(
    jpegs: Sequence[bytes], size: int, batch: int, layers: int, level: int, workers: int
) -> Iterable[Any]:
    """Endless batches of random crops, flips and RandAugment, made by `workers` processes; pixels are not normalised."""
    import timm.data
    import torch
    from timm.data.loader import fast_collate

    transform = timm.data.create_transform(
        size,
        is_training=True,
        use_prefetcher=True,
        auto_augment=f"rand-m{level}-n{layers}",
        interpolation="bicubic",
        re_prob=0.0,
    )

    class Images(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(jpegs)

        def __getitem__(self, index: int) -> tuple[Any, int]:
            return transform(Image.open(io.BytesIO(jpegs[index])).convert("RGB")), 0

    order = torch.utils.data.RandomSampler(range(len(jpegs)), replacement=True, num_samples=1 << 20)
    return torch.utils.data.DataLoader(
        Images(), batch, sampler=order, num_workers=workers, collate_fn=fast_collate, drop_last=True
    )


def _pixels(images: np.ndarray) -> Any:
    """[B, 3, H, W] in PyTorch's own order: with channels last a training step takes three times as long on a CPU."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
