"""What has to be known about a scorer before its batches are scored, measured on a few features drawn by hash."""
