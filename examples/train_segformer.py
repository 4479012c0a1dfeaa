"""transformers' own Trainer trains a SegFormer on a distilled set; not a line of d3s2 is imported.

    d3s2 export runs/demo --format hf --to exported
    python examples/train_segformer.py exported --steps 400 --out segformer

The data may also be an id on the hub. `--start nvidia/mit-b0` begins with a pretrained backbone, where it is on disk or
can be fetched; `--test FOLDER` is scored at the end (real pairs of the same classes, in the same form). Needs
transformers, datasets and accelerate.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from datasets import load_dataset
from transformers import SegformerConfig, SegformerForSemanticSegmentation, Trainer, TrainingArguments
from transformers.models.segformer.image_processing_pil_segformer import SegformerImageProcessorPil


def main() -> None:
    """Trains, saves the model, and scores it where a test set is given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="an exported folder, or an id on the hub")
    parser.add_argument("--test", help="pairs to score on, in the same form")
    parser.add_argument("--start", help="a published backbone, for example nvidia/mit-b0; default: random weights")
    parser.add_argument("--out", default="segformer")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch", type=int, default=8)
    asked = parser.parse_args()

    train = load_dataset(asked.data, split="train")
    id2label = read_names(asked.data)
    labels = {"num_labels": len(id2label), "id2label": id2label, "label2id": {b: a for a, b in id2label.items()}}
    processor = SegformerImageProcessorPil(do_resize=False)  # pairs of a distilled set have one size

    def to_tensors(rows: dict) -> dict:
        images = [image.convert("RGB") for image in rows["image"]]
        return dict(processor(images=images, segmentation_maps=rows["mask"], return_tensors="pt"))

    if asked.start:
        model = SegformerForSemanticSegmentation.from_pretrained(asked.start, **labels)
    else:
        model = SegformerForSemanticSegmentation(SegformerConfig(**labels))  # the size of mit-b0
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=asked.out,
            max_steps=asked.steps,
            per_device_train_batch_size=asked.batch,
            learning_rate=6e-4,
            remove_unused_columns=False,  # the columns are made into tensors when a row is read
            save_strategy="no",
            report_to="none",
        ),
        train_dataset=train.with_transform(to_tensors),
        compute_metrics=lambda found: {"miou": mean_iou(found.predictions, found.label_ids, len(id2label))},
        preprocess_logits_for_metrics=lambda logits, masks: torch.nn.functional.interpolate(
            logits, masks.shape[-2:], mode="bilinear"
        ).argmax(dim=1),
    )
    print(trainer.train().metrics)
    trainer.save_model(asked.out)
    if asked.test:
        test = load_dataset(asked.test, split="train").with_transform(to_tensors)
        print(trainer.evaluate(test))


def read_names(data: str) -> dict[int, str]:
    """Class names by train id, from id2label.json beside the pairs."""
    path = Path(data) / "id2label.json"
    if not path.is_file():
        from huggingface_hub import hf_hub_download

        path = Path(hf_hub_download(data, "id2label.json", repo_type="dataset"))
    return {int(index): name for index, name in json.loads(path.read_text()).items()}


def mean_iou(seen: np.ndarray, masks: np.ndarray, num_classes: int) -> float:
    """Over the classes that the masks hold; 255 is ignored."""
    counted = masks != 255
    pairs = num_classes * masks[counted].astype(int) + seen[counted]
    counts = np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)
    there = counts.sum(axis=1) > 0
    hits = np.diag(counts)
    return float((hits / np.maximum(counts.sum(axis=0) + counts.sum(axis=1) - hits, 1))[there].mean())


if __name__ == "__main__":
    main()
