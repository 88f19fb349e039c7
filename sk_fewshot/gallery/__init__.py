"""What has been enrolled, and the search over it."""
