"""The explorer: a lake's features as pages in a browser, read-only but for readers' ratings.

`app` has the pages, `catalog` the lake that they read, `search`, `feature`, `run`, `readers` and `texts` one page
each, `statement` the SQL box; what a page asks the lake is `sql/explore/*.sql`. No page runs a script.
"""
