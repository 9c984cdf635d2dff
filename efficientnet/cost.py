"""What a network costs: multiplications of one image's way through it. No TensorFlow here."""

from __future__ import annotations

from efficientnet.variants import ModelConfig


def multiplications(model: ModelConfig, size: int) -> int:
    """Multiplications for one image of `size` x `size` pixels, forward."""
    side = -(-size // 2)
    total = side * side * 27 * model.stem_channels
    for block in model.blocks():
        inner = block.input_channels * block.expansion
        if block.expansion != 1:
            total += side * side * block.input_channels * inner
        side = -(-side // block.stride)
        total += side * side * inner * (block.kernel**2 + block.output_channels)
        total += 2 * inner * block.squeeze_channels
    last = model.blocks()[-1].output_channels
    return total + side * side * last * model.head_channels + model.head_channels * model.num_classes
