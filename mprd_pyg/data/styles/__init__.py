"""Camera styles: one image in the look of another camera."""
