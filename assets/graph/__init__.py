"""How the graph is built: assets from functions, their checks, the schedule."""
