"""Drawing synthetic pedestrians: who they are, how they move, where they walk and which camera sees them."""

from mprd_pyg.data.pedestrian.picture import render
from mprd_pyg.data.pedestrian.wardrobe import DISTRACTOR, DOMAINS, JUNK, PERSON, Identity, draw_identity

__all__ = ["DISTRACTOR", "DOMAINS", "JUNK", "PERSON", "Identity", "draw_identity", "render"]
