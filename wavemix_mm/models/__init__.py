"""The network. Subpackages are imported one by one, so that a backbone does not need a toolbox."""
