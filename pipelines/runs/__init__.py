"""The run folder: one writer, one reader, and runs side by side."""
