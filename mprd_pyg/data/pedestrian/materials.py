"""Codes of what a figure is painted with: 2 * material + tone, + SECOND for the material's second colour."""
SKIN, HAIR, UPPER, INNER, LOWER, SHOES, BAG, SCARF, HAT, DARK, SOLE, TIGHTS, SHADOW = range(1, 14)
SHADE, LIT, SECOND = 0, 1, 32
