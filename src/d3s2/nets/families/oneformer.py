"""OneFormer: Mask2Former's queries, told by a sentence that the task is semantic segmentation.

Source: arXiv 2211.06220.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from transformers import CLIPTokenizer, OneFormerForUniversalSegmentation
from transformers.utils import CONFIG_NAME

from d3s2.base.errors import ModelError
from d3s2.base.formats.records import read_object
from d3s2.hub import loading_safely
from d3s2.nets.families.family import Family, Layer
from d3s2.nets.families.mask import BACKBONE_LAYERS, DECODER, ENCODER, maskformer_scores

TASK = "the task is semantic"
TASK_TOKENS = "task_tokens"
"""Key of a config for the sentence's tokens: a network that is written again needs no tokenizer's files."""

TOKENIZER_FILES = (("vocab.json", "merges.txt"), ("tokenizer.json",))
WHOLE = "get vocab.json and merges.txt of the network too"


def task_inputs(folder: Path) -> Mapping[str, Tensor]:
    """The sentence in the tokens of the folder's own tokenizer, 0 behind its end, as transformers' processor has it.

    Raises:
        ModelError: the tokenizer's files are missing or damaged.
    """
    config = read_object(folder / CONFIG_NAME, WHOLE, ModelError)
    tokens = config.get(TASK_TOKENS)
    if tokens is None:
        if not any(all((folder / name).is_file() for name in names) for names in TOKENIZER_FILES):
            raise ModelError(f"{folder}: OneFormer's tokenizer is missing; {WHOLE}.")
        with loading_safely(folder, "CLIPTokenizer", WHOLE):
            tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
            length = config.get("task_seq_len", 77)
            found = tokenizer(TASK, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
            tokens = (found["input_ids"] * found["attention_mask"])[0].tolist()
    if not (isinstance(tokens, list) and tokens and all(type(one) is int and one >= 0 for one in tokens)):
        raise ModelError(f"{folder / CONFIG_NAME}: key '{TASK_TOKENS}' is no list of tokens; {WHOLE}.")
    return {"task_inputs": torch.tensor(tokens)}


ONEFORMER = Family(
    network=OneFormerForUniversalSegmentation,
    processor="OneFormerImageProcessor",
    divisor=1,
    backbone=ENCODER,
    layers={**BACKBONE_LAYERS, "decoder": Layer(DECODER, lambda output: output.mask_features)},
    default_layers=(*BACKBONE_LAYERS, "decoder"),
    scores=maskformer_scores,
    inputs=task_inputs,
)
