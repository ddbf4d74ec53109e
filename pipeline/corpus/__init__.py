"""The corpus: texts read from their sources, cut into documents, contexts and slots."""
