"""What has to be known of a scorer before its batches are scored: asked about a few features, by draw."""
