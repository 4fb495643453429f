"""Batches of several images of each of several groups."""
import torch
from torch import Tensor


def group_batches(group: Tensor, camera: Tensor, groups_per_batch: int = 16, images_per_group: int = 16,
                  count: int | None = None, *, generator: torch.Generator) -> list[list[int]]:
    """Draw batches of P groups x Z images, as the released code of cluster contrast does.

    Groups come in random order, none again before a pass is over. An image of the group is drawn, and the others from
    those of other cameras than its own, if there are any; without repeats where there are at least Z of them.

    Args:
        group: (N,) label of each image, -1 for none: those images are not drawn.
        camera: (N,) camera of each image.
        groups_per_batch: P; all groups, if there are fewer.
        images_per_group: Z.
        count: number of batches; None for one pass over the groups. A pass leaves out what does not fill a batch.
        generator: of all random choices.

    Returns:
        rows of each batch, those of one group together.
    """
    if groups_per_batch < 1 or images_per_group < 1:
        raise ValueError(f"a batch needs at least one group and image, got {groups_per_batch} and {images_per_group}")
    group, camera = group.cpu(), camera.cpu()
    order = group.argsort(stable=True)[int((group < 0).sum()):]
    members = order.split(group[order].unique_consecutive(return_counts=True)[1].tolist())
    if not members:
        raise ValueError("no image is in a group: no batch can be drawn")
    size = min(groups_per_batch, len(members))
    per_pass = len(members) // size
    count = per_pass if count is None else count
    batches: list[list[int]] = []
    for number in range(count):
        if number % per_pass == 0:
            groups = torch.randperm(len(members), generator=generator).split(size)
        images = [_images(members[g], camera, images_per_group, generator) for g in groups[number % per_pass].tolist()]
        batches.append(sum(images, []))
    return batches


def _images(rows: Tensor, camera: Tensor, count: int, generator: torch.Generator) -> list[int]:
    """``count`` images of one group (S,)."""
    place = int(torch.randint(len(rows), (1,), generator=generator))
    first = rows[place:place + 1]
    others = rows[camera[rows] != camera[first]]
    if not len(others):
        others = rows[rows != first] if len(rows) > 1 else rows
    if len(others) >= count:
        chosen = torch.randperm(len(others), generator=generator)[:count - 1]
    else:
        chosen = torch.randint(len(others), (count - 1,), generator=generator)
    return torch.cat([first, others[chosen]]).tolist()
