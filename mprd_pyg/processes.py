"""The processes of one run: which this is, its share of the work, and what all of them tell each other.

They are started by ``torchrun`` and joined by :func:`mprd_pyg.process_group.join`; one process is the case R = 1, in
which nothing is sent. What sends must be called by all processes, in the same order.
"""
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, Literal, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

Value = TypeVar("Value")

_sent = 0


def rank() -> int:
    """Which of the processes this is: 0 ... R - 1."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def count() -> int:
    """R, how many processes there are."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def is_first() -> bool:
    """Whether this is rank 0, which alone writes files and speaks to the user."""
    return rank() == 0


def bytes_sent() -> int:
    """Bytes of the tensors that this rank has sent since it was started.

    A gathered tensor counts once for each other rank; one that is summed or broadcast counts once, though a ring sends
    a sum up to twice. Plain values, which are sent between phases, are not counted.
    """
    return _sent


def count_bytes(number: int) -> None:
    """Add to :func:`bytes_sent` what was sent elsewhere, such as by DistributedDataParallel."""
    global _sent
    _sent += number


def shares(items: Sequence[Value]) -> list[Sequence[Value]]:
    """Consecutive items for each rank; the first ranks take one more where R does not divide them."""
    ends = [0]
    for number in range(count()):
        ends.append(ends[-1] + (len(items) + count() - 1 - number) // count())
    return [items[start:end] for start, end in pairwise(ends)]


def share(items: Sequence[Value]) -> Sequence[Value]:
    """The consecutive items that this rank takes."""
    return shares(items)[rank()]


def gather(x: Tensor, sizes: list[int]) -> Tensor:
    """The rows of all ranks, in their order, with gradient.

    Every rank computes the same loss from the same rows, and sends the gradient of its own rows back, times R: the
    mean over the ranks, which DistributedDataParallel takes, then is the gradient that one process computes, whatever
    the loss and the sizes are.

    Args:
        x: (n, ...) of this rank, of which the first ``sizes[rank]`` rows count; of one shape after the first dimension.
        sizes: of every rank.

    Returns:
        (sum of ``sizes``, ...).
    """
    return x if count() == 1 else _Gather.apply(x, sizes)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, sizes: list[int]) -> Tensor:
        ctx.sizes, ctx.shape = sizes, x.shape
        own = sizes[rank()]
        padded = x.new_zeros(max(sizes), *x.shape[1:])  # a collective needs equal shapes
        padded[:own] = x[:own]
        parts = all_gather(padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        start, own = sum(ctx.sizes[:rank()]), ctx.sizes[rank()]
        out = grad.new_zeros(ctx.shape)
        out[:own] = grad[start:start + own] * count()
        return out, None


def map_shared(function: Callable[[Tensor], Tensor], items: Tensor) -> Tensor:
    """``function`` (n, ...) -> (n, ...) of all items, of which each rank computes its share."""
    own = share(items)
    return gather(function(own if len(own) else items[:1]), [len(part) for part in shares(items)])


# -- a loss whose terms are spread over the ranks, of which every rank has the whole value -----------------------------

def shared(x: Tensor) -> Tensor:
    """``x``, which all ranks have alike, where each computes other terms from it: its gradient is the sum of theirs."""
    return x if count() == 1 else _Shared.apply(x)


def add_up(x: Tensor) -> Tensor:
    """The sum of all ranks' ``x``; what all then compute from it alike sends its gradient to each rank's terms."""
    return x if count() == 1 else _AddUp.apply(x)


def join_columns(x: Tensor) -> Tensor:
    """The columns (..., n) of all ranks side by side, (..., R n), with gradient as in :func:`add_up`."""
    return x if count() == 1 else _JoinColumns.apply(x)


class _Shared(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return all_reduce(grad)


class _AddUp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return all_reduce(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad


class _JoinColumns(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.size = x.shape[-1]
        return torch.cat(all_gather(x), dim=-1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad.narrow(-1, rank() * ctx.size, ctx.size)


# -- what sends --------------------------------------------------------------------------------------------------------

def all_gather(x: Tensor) -> list[Tensor]:
    """``x`` of each rank; of one shape, without gradient."""
    if count() == 1:
        return [x]
    parts = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(count())]
    dist.all_gather(parts, x.contiguous())
    count_bytes((count() - 1) * x.nbytes)
    return parts


def all_reduce(x: Tensor, op: Literal["sum", "max"] = "sum") -> Tensor:
    """The sum or the maximum of all ranks' ``x``, without gradient."""
    if count() == 1:
        return x
    out = x.detach().clone(memory_format=torch.contiguous_format)
    dist.all_reduce(out, dist.ReduceOp.MAX if op == "max" else dist.ReduceOp.SUM)
    count_bytes(out.nbytes)
    return out


def in_turn(x: Tensor, work: Callable[[Tensor], Any]) -> Tensor:
    """``x`` after each rank in its turn has changed it by ``work``, as one process would that has all their rows."""
    for number in range(count()):
        if number == rank():
            work(x)
        if count() > 1:
            dist.broadcast(x, src=number)
            count_bytes(x.nbytes)
    return x


def collect(x: Tensor, sizes: list[int]) -> Tensor | None:
    """On rank 0 the rows (M, sum of ``sizes``, d) of all ranks' ``x`` (M, n, d), in their order, in the host's memory.

    None on the others.
    """
    if not is_first():
        for branch in x.detach().cpu():
            dist.send(branch.contiguous(), dst=0)
            count_bytes(branch.nbytes)
        return None
    out = torch.empty(len(x), sum(sizes), x.shape[2], dtype=x.dtype)
    for number, part in enumerate(out.split(sizes, dim=1)):
        for branch, own in zip(part, x, strict=True):
            if number == 0:
                branch.copy_(own)
            else:
                dist.recv(branch, src=number)
    return out


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Replace each gradient by its mean over the ranks, as DistributedDataParallel does; see :func:`gather`."""
    if count() == 1:
        return
    gradients = [part.grad for part in parameters if part.grad is not None]
    flat = all_reduce(torch.cat([gradient.flatten() for gradient in gradients]))
    for gradient, mean in zip(gradients, (flat / count()).split([part.numel() for part in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def broadcast(value: Value) -> Value:
    """Rank 0's value, on all ranks; tensors in it must be on the host."""
    if count() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def gather_values(value: Value) -> list[Value]:
    """The value of each rank, on all ranks; tensors in it must be on the host."""
    values = [value] * count()
    if count() > 1:
        dist.all_gather_object(values, value)
    return values


def broadcast_tensors(tensors: Iterable[Tensor]) -> None:
    """Write rank 0's values into the tensors of all ranks."""
    if count() > 1:
        for tensor in tensors:
            value = tensor.detach().contiguous()  # a weight may be stored channels last
            dist.broadcast(value, src=0)
            count_bytes(value.nbytes)
            tensor.detach().copy_(value)


def any_process(flag: bool) -> bool:
    """Whether the flag is true on any rank."""
    if count() == 1:
        return flag
    value = torch.tensor(int(flag))
    dist.all_reduce(value, dist.ReduceOp.MAX)
    count_bytes(value.nbytes)
    return bool(value)


def wait_for_all() -> None:
    """Wait until every rank has come here."""
    any_process(False)


@contextmanager
def first_alone() -> Iterator[None]:
    """Run the block on rank 0, then on the others, which find the files that it wrote."""
    if not is_first():
        wait_for_all()
    yield
    if is_first():
        wait_for_all()


def check_equal(what: str, value: str) -> None:
    """Refuse a run whose processes do not all have the same value.

    Raises:
        ValueError: on all ranks; names the first that differs.
    """
    values = gather_values(value)
    for number, other in enumerate(values):
        if other != values[0]:
            raise ValueError(f"process {number} has other {what} than process 0 ({other} and {values[0]}): start all "
                             f"{count()} processes alike")
