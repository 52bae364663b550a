"""What is read from the cluster."""
