"""A linear head upon any backbone of transformers: the plainest student of a pretrained vision transformer.

Source: the head of DINOv2's and DINOv3's linear segmentation (arXiv 2304.07193, section 7.4; 2508.10104, section 6.1).
"""

from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor, nn
from transformers import AutoBackbone, AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SemanticSegmenterOutput

from d3s2.nets.families.family import Family, Layer
from d3s2.nets.families.pixel import pixel_scores, segformer_loss


class LinearHeadConfig(PreTrainedConfig):  # type: ignore[misc]
    """A backbone's config and the labels.

    Args:
        backbone_config: of a class that transformers' `AutoBackbone` knows; its last feature map is read.
    """

    model_type = "linear_head"
    sub_configs: ClassVar[dict[str, Any]] = {"backbone_config": AutoConfig}

    def __init__(self, backbone_config: Any = None, **others: Any) -> None:
        if isinstance(backbone_config, dict):
            values = dict(backbone_config)
            backbone_config = AutoConfig.for_model(values.pop("model_type"), **values)
        self.backbone_config = backbone_config
        super().__init__(**others)


class LinearHeadForSemanticSegmentation(PreTrainedModel):  # type: ignore[misc]
    """Batch normalisation of the backbone's last feature map, and one linear layer a cell."""

    config_class = LinearHeadConfig
    main_input_name = "pixel_values"

    def __init__(self, config: LinearHeadConfig) -> None:
        super().__init__(config)
        self.backbone = AutoBackbone.from_config(config.backbone_config)
        channels = self.backbone.channels[-1]
        self.norm = nn.BatchNorm2d(channels)
        self.classifier = nn.Conv2d(channels, config.num_labels, 1)
        self.post_init()

    def forward(self, pixel_values: Float[Tensor, "b 3 h w"]) -> SemanticSegmenterOutput:
        features = self.backbone(pixel_values).feature_maps[-1]
        return SemanticSegmenterOutput(logits=self.classifier(self.norm(features)))


LINEAR_HEAD = Family(
    network=LinearHeadForSemanticSegmentation,
    processor="SegformerImageProcessor",
    divisor=16,
    backbone="backbone",
    layers={"backbone": Layer("backbone", lambda output: output.feature_maps[-1])},
    default_layers=("backbone",),
    scores=pixel_scores,
    loss=segformer_loss,
)
