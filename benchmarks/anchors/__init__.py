"""What numbers are compared with: the same work by hand, as people do it today."""
