"""From flags to the configs of `convert` and `export`. No TensorFlow here."""

from __future__ import annotations

from absl.flags import FlagValues

from checkpoints.config import ConvertConfig, ExportConfig
from checkpoints.description import Description
from flags.folders import needed
from flags.network import network_of, task_of


def convert_config(values: FlagValues) -> ConvertConfig:
    """For `--mode=convert`.

    Raises:
      UserError: flags that are missing or do not fit together.
    """
    task = task_of(values)
    model, image_size = network_of(values, task)
    return ConvertConfig(
        title="convert",
        model=model,
        checkpoint=needed(values, "init_model_path", "the checkpoint to convert"),
        model_dir=needed(values, "model_dir", "the folder to write to"),
        image_size=image_size,
        task=task,
    )


def export_config(values: FlagValues) -> ExportConfig:
    """For `--mode=export`.

    Raises:
      UserError: flags that are missing or do not fit together.
    """
    checkpoint = needed(values, "predict_ckpt_path", "the checkpoint to export")
    described = Description.beside(checkpoint)
    task = task_of(values, described)
    model, image_size = network_of(values, task, described)
    return ExportConfig(
        title="export",
        model=model,
        checkpoint=checkpoint,
        output_dir=needed(values, "output_dir", "the folder to write to"),
        image_size=image_size,
        task=task,
        use_averages=values.use_averages,
        tf1_checkpoint=values.export_tf1,
    )
