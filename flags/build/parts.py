"""Parts that several modes' configs have in common. No TensorFlow here."""

from __future__ import annotations

from absl.flags import FlagValues

from data.config import AugmentConfig
from flags.folders import in_data_dir
from runtime.config import DeviceConfig
from runtime.errors import UserError


def device_config(values: FlagValues) -> DeviceConfig:
    """Which devices to run on."""
    return DeviceConfig(
        use_tpu=values.use_tpu,
        tpu=values.tpu or "",
        tpu_zone=values.tpu_zone or "",
        gcp_project=values.gcp_project or "",
        use_bfloat16=values.use_bfloat16 if values["use_bfloat16"].present else None,
        num_shards_per_group=values.num_shards_per_group,
    )


def augmentation(values: FlagValues, flag: str) -> AugmentConfig:
    """RandAugment as `flag` (--augment_name, --unl_aug) says; raises UserError if it says neither v1 nor none."""
    name = values[flag].value or "none"
    if name not in ("v1", "none"):
        also = " or default" if flag == "unl_aug" else ""
        raise UserError(f"--{flag}: got {name!r}, expected v1 (RandAugment), none{also}")
    return AugmentConfig(name == "v1", values.randaug_layer, float(values.randaug_mag), values.cutout_op)


def label_data_dir(values: FlagValues) -> str:
    """The folder of the labeled shards; raises UserError if no flag gives it."""
    return values.label_data_dir or in_data_dir(values, "labeled", "label_data_dir", "the labeled shards")
