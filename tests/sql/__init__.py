"""Every SQL file on rows written by hand."""
