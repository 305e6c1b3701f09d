"""What several methods match by, as functions of tensors."""
