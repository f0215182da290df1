"""nodestoraged: keeps a Kubernetes node's container images on a labelled stick."""

__version__ = "0.1.0"
