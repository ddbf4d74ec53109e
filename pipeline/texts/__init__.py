"""Text sources: files, datasets, delphi's rows, and the built-in default; read one text at a time."""
