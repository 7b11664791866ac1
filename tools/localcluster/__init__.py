"""A Kubernetes cluster on this machine, made of binaries that are built from their Go modules."""
