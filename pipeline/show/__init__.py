"""What a person sees of the tables: in a terminal, as plots, in a notebook."""
