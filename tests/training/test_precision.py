"""Mixed precision: the network computes in bfloat16; memory, similarities, losses and the GCN do not."""
import torch
from lightning_fabric import Fabric

from mprd_pyg.data.train_images import TrainImages
from mprd_pyg.data.views import plain_view, training_view
from mprd_pyg.graph import KNNGraph, PairSubgraphs
from mprd_pyg.losses import BinomialDeviance
from mprd_pyg.memory import FeatureMemory
from mprd_pyg.models import ImageEmbedder, PairClassifier
from mprd_pyg.mprd import MPRD, GCNRelation, GCNTraining
from mprd_pyg.training import Learner, MemoryGraph


def test_only_the_network_computes_in_half_precision():
    draw = torch.Generator().manual_seed(0)
    images = TrainImages(list(torch.randint(256, (16, 3, 32, 16), dtype=torch.uint8, generator=draw)),
                         meta=torch.tensor([-1] * 12 + [1, 1, 2, 2]), num_unlabelled=12)
    network = ImageEmbedder("resnet18", 1, weights=None)
    learner = Learner(Fabric(accelerator="cpu", devices=1, precision="bf16-mixed"), network, images, plain_view(), 6)
    connect = MemoryGraph(FeatureMemory(12, network.dim), KNNGraph(k=3), images)
    relation = GCNRelation(PairClassifier(network.dim, hidden=8), PairSubgraphs())
    gcn = GCNTraining(relation, learner, connect, training_view(32, 16, perturbed=True), batch_size=8)
    loss = BinomialDeviance()
    method = MPRD(learner, connect, relation, gcn=gcn, loss=loss, epochs=1)
    seen, inside, products = [], [], []
    last = [module for module in network.trunk.modules() if isinstance(module, torch.nn.Conv2d)][-1]
    last.register_forward_hook(lambda module, args, out: inside.append(out.dtype))
    loss.register_forward_hook(lambda module, args, out: seen.append((args[0].detach(), args[1].clone(), args[2],
                                                                      args[3], out.detach())))
    relation.classifier.register_forward_hook(lambda module, args, out: products.append(out.dtype))
    method.prepare()
    for phase in method.phases(1):
        for batch in phase.batches(0):
            phase.step(batch)
    single = torch.float32
    assert set(inside) == {torch.bfloat16} and set(products) == {single} and len(seen) == 2
    assert connect.memory.bank.dtype == single and learner.embed().dtype == single
    # Unit to single precision: half precision would be off by some 0.004.
    assert float((connect.memory.bank.norm(dim=2) - 1).abs().max()) < 1e-6
    for x, bank, positives, rows, value in seen:
        assert x.dtype == bank.dtype == value.dtype == single
        exact = BinomialDeviance()(x.double(), bank.double(), positives, rows)
        torch.testing.assert_close(value.double(), exact, rtol=1e-6, atol=0)
    assert all(p.dtype == p.grad.dtype == single for p in relation.classifier.parameters())
