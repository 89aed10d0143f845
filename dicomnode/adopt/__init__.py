"""From a bundle outside to a model of this node: fetched, unpacked, tried, described in a model file."""
