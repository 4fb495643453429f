"""Drawing synthetic pedestrians: who they are, how they move, where they walk and which camera sees them.

``wardrobe`` says who, ``body``, ``figure`` and ``brush`` paint a person, ``places`` a street, ``street_cameras`` what a
camera makes of it, ``picture`` one image of all that; ``synthetic`` writes a whole dataset.
"""
from mprd_pyg.data.pedestrian.picture import render
from mprd_pyg.data.pedestrian.wardrobe import DISTRACTOR, DOMAINS, JUNK, PERSON, Identity, draw_identity

__all__ = ["DISTRACTOR", "DOMAINS", "JUNK", "PERSON", "Identity", "draw_identity", "render"]
