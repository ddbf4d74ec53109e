"""The explorer: a lake's features as pages in a browser, read-only except for readers' ratings.

`app` routes the requests and `catalog` reads the lake; `search`, `feature`, `run`, `readers` and `texts` make one
page each, and `statement` is the SQL box. The queries of the pages are in `sql/explore/`. No page runs a script.
"""
