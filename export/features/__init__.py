"""Any ranking model with named features, whatever its layers: from its graph to a proven file."""
