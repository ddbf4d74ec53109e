"""Texts as people have them: files, datasets, delphi's rows, the embedded default; read one at a time."""
