"""Data cards: one YAML file says how a dataset is laid out, split, checked and evaluated.

``card`` is the card, ``schema`` its parts, ``typed_yaml`` reads them and ``rules`` checks them; ``layouts`` and
``naming`` list the images, ``counts`` and ``roots`` say what is not as promised; ``propose`` and ``guess`` make a card.
"""
