"""The embedder as a program by itself: ONNX, and ``torch.export``; both give the test feature."""
import copy
import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mprd_pyg.data.views import IMAGENET_MEAN, IMAGENET_STD
from mprd_pyg.files import replacing

OPSET = 18  # onnxruntime 1.14 and later


class TestFeature(nn.Module):
    """What a ranking compares: the branches concatenated, L2-normalised; (B, 3, H, W) -> (B, M * d)."""

    __test__ = False  # for pytest, which collects names in Test

    def __init__(self, embedder: nn.Module):
        super().__init__()
        self.embedder = embedder

    def forward(self, images: Tensor) -> Tensor:
        """Embed."""
        return F.normalize(self.embedder(images).flatten(1), dim=1)


def preprocessing(size: tuple[int, int]) -> dict[str, Any]:
    """How an image becomes a row of the input, in plain values."""
    return {"input": "images", "layout": "NCHW", "dtype": "float32", "colour": "RGB", "height": size[0],
            "width": size[1], "resize": "bilinear, antialiased, without keeping the aspect", "scale": 1 / 255,
            "mean": list(IMAGENET_MEAN), "std": list(IMAGENET_STD),
            "output": "features", "normalised": "L2", "compare": "cosine, the inner product of two rows"}


@torch.no_grad()
def export_program(embedder: nn.Module, size: tuple[int, int]) -> torch.export.ExportedProgram:
    """The test feature as a ``torch.export`` program for any batch size, on the CPU in evaluation mode.

    Args:
        embedder: (B, 3, H, W) normalised images -> (B, M, d).
        size: (H, W).
    """
    network = TestFeature(copy.deepcopy(embedder)).cpu().float().eval().requires_grad_(False)
    images = torch.zeros(2, 3, *size)
    return torch.export.export(network, (images,), dynamic_shapes={"images": {0: torch.export.Dim("batch")}})


def save_program(path: Path, program: torch.export.ExportedProgram, about: dict[str, Any]) -> None:
    """Write ``.pt2``, with ``about.json`` in it; open it by ``torch.export.load(path).module()``."""
    with replacing(path) as part, open(part, "wb") as file:
        torch.export.save(program, file, extra_files={"about.json": json.dumps(about)})


def save_onnx(path: Path, program: torch.export.ExportedProgram, about: dict[str, Any]) -> None:
    """Write ONNX (one file, opset 18, input ``images``, output ``features``), ``about`` in its metadata.

    Raises:
        ValueError: the packages of the extra ``export`` are not installed.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401  (the exporter needs it)
    except ImportError as error:
        raise ValueError(f"exporting ONNX needs {error.name}: pip install 'mprd-pyg[export]'") from error
    exported = torch.onnx.export(program, dynamo=True, opset_version=OPSET, input_names=["images"],
                                 output_names=["features"], verbose=False)
    model = exported.model_proto
    batch = model.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for side in value.type.tensor_type.shape.dim:
            if side.dim_param:
                side.dim_param = "batch" if side.dim_param == batch else side.dim_param.replace(batch, "batch")
    onnx.helper.set_model_props(model, {key: value if isinstance(value, str) else json.dumps(value)
                                        for key, value in about.items()})
    onnx.checker.check_model(model, full_check=True)
    with replacing(path) as part:
        onnx.save(model, str(part))
